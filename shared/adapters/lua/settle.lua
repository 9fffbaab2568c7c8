-- Note how a try went. ARGV: id, sent, log entry, state, reason, ms to the next ('' for never), host, log_ttl_ms,
-- most log entries. Only the newest try decides what happens next; an older one, whose courier was slow, is logged and
-- nothing else. Noting a try twice, after a lost reply, changes nothing.
local id, sent, delivery, host = ARGV[1], ARGV[2], delivery_key(ARGV[1]), ARGV[7]
land(id, sent, host)
if redis.call('EXISTS', delivery) == 0 then return 0 end
redis.call('HSET', delivery .. ':log', sent, ARGV[3])
redis.call('HDEL', delivery .. ':log', sent - ARGV[9])
redis.call('PEXPIRE', delivery .. ':log', ARGV[8])
if redis.call('HGET', delivery, 'sent') ~= sent then return 0 end
redis.call('HSET', delivery, 'state', ARGV[4], 'reason', ARGV[5])
if ARGV[6] == '' then unschedule(id, host) else schedule(id, host, now + ARGV[6]) end
return 1
