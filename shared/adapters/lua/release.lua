-- Hand a job back. ARGV: id, fence, 1 if the attempt does not count else 0, rest_ms until it may be taken again.
-- Returns 0 when the claim was lost.
local id = ARGV[1]
if not holds(id, ARGV[2]) then return 0 end
-- First, since a full Redis lets a script go on that has written what frees memory.
redis.call('ZREM', RUNNING, id)
redis.call('HINCRBY', job_key(id), 'attempt', 0 - ARGV[3])
requeue(id, now + ARGV[4])
return 1
