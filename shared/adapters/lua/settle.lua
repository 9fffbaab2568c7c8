-- Note how a try went. ARGV: id, client, host, sent, log line, sealed answer or '', state, reason, ms to the next ('' for
-- never), pace.
-- Only the newest try decides what happens next; an older one, whose courier was slow, is logged and nothing else.
-- Noting a try twice, after a lost reply, changes nothing.
local id, client, host, sent, delivery = ARGV[1], ARGV[2], ARGV[3], ARGV[4], delivery_key(ARGV[1])
note_pace(client, host, ARGV[10])
route(client, host)
land(id, sent, client, host)
if redis.call('EXISTS', delivery) == 0 then return 0 end
redis.call('HSET', delivery, sent, ARGV[5])
if ARGV[6] ~= '' and redis.call('EXISTS', delivery .. ':body') == 1 then
  redis.call('HSET', delivery, 'answer:' .. sent, ARGV[6])
end
if redis.call('HGET', delivery, 'sent') ~= sent then return 0 end
redis.call('HSET', delivery, 'state', ARGV[7], 'reason', ARGV[8])
if ARGV[9] == '' then unschedule(id, client, host) else schedule(id, client, host, now + ARGV[9]) end
return 1
