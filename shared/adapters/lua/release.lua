-- Hand a job back, its attempt not counted. ARGV: id, fence. Returns 0 when the claim was lost.
local id, job = ARGV[1], job_key(ARGV[1])
if not holds(id, ARGV[2]) then return 0 end
redis.call('HINCRBY', job, 'attempt', -1)
requeue(id)
return 1
