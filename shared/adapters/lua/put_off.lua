-- Give back a try that was not made. ARGV: id, client, host, sent, try, ms to the next, reason of the try before.
-- Only the newest try can be given back; doing so twice, after a lost reply, gives back one.
local id, client, host, sent, delivery = ARGV[1], ARGV[2], ARGV[3], ARGV[4], delivery_key(ARGV[1])
land(id, sent, client, host)
if redis.call('HGET', delivery, 'sent') ~= sent then return 0 end
redis.call('HSET', delivery, 'try', ARGV[5] - 1, 'reason', ARGV[7])
redis.call('HDEL', delivery, sent)
schedule(id, client, host, now + ARGV[6])
return 1
