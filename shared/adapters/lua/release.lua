-- Hand a job back. ARGV: id, fence, '1' if its attempt counts: it is then rung for a little later, not at once.
-- Returns 0 when the claim was lost.
local id, job = ARGV[1], job_key(ARGV[1])
if not holds(id, ARGV[2]) then return 0 end
if ARGV[3] ~= '1' then redis.call('HINCRBY', job, 'attempt', -1) end
requeue(id)
if ARGV[3] == '1' then redis.call('ZADD', QUEUED, now, id) end
return 1
