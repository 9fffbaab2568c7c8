-- Renew a lease. ARGV: id, fence, lease_ms, then names and values to note. Returns 0 when the claim was lost.
local id = ARGV[1]
if not holds(id, ARGV[2]) then return 0 end
-- A Redis that is full lets a script write on that has begun to; the lease itself takes no more room.
redis.call('ZREM', RUNNING, id)
redis.call('ZADD', RUNNING, now + ARGV[3], id)
if ARGV[4] then redis.call('HSET', job_key(id), 'updated', now, unpack(ARGV, 4)) end
return 1
