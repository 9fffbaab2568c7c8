-- Give back a try that was not made. ARGV: id, sent, try, host, ms to the next.
-- Only the newest try can be given back; doing so twice, after a lost reply, gives back one.
local id, sent, delivery, host = ARGV[1], ARGV[2], delivery_key(ARGV[1]), ARGV[4]
land(id, sent, host)
if redis.call('HGET', delivery, 'sent') ~= sent then return 0 end
redis.call('HSET', delivery, 'try', ARGV[3] - 1)
schedule(id, host, now + ARGV[5])
return 1
