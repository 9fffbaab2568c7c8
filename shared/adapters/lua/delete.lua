-- Remove what is left of a withdrawn job. ARGV: id, call. Returns 0 when another call has it now; 1 also when asked
-- again after a lost reply.
local id, job = ARGV[1], job_key(ARGV[1])
local by = redis.call('HGET', job, 'withdrawn_by')
if by and by ~= ARGV[2] then return 0 end
redis.call('DEL', job)
redis.call('ZADD', LEAVING, now, id)
return 1
