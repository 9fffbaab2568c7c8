-- Note how a try went. ARGV: id, client, host, sent, log entry, state, reason, ms to the next ('' for never).
-- Only the newest try decides what happens next; an older one, whose courier was slow, is logged and nothing else.
-- Noting a try twice, after a lost reply, changes nothing.
local id, client, host, sent, delivery = ARGV[1], ARGV[2], ARGV[3], ARGV[4], delivery_key(ARGV[1])
land(id, sent, client, host)
if redis.call('EXISTS', delivery) == 0 then return 0 end
redis.call('HSET', delivery .. ':log', sent, ARGV[5])
if redis.call('HGET', delivery, 'sent') ~= sent then return 0 end
redis.call('HSET', delivery, 'state', ARGV[6], 'reason', ARGV[7])
if ARGV[8] == '' then unschedule(id, client, host) else schedule(id, client, host, now + ARGV[8]) end
return 1
