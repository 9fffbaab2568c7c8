-- Remove a job. ARGV: id, client. Returns 0 when there is none of the client's.
local id, job, delivery = ARGV[1], job_key(ARGV[1]), delivery_key(ARGV[1])
-- The log of a webhook outlives its job.
local owner = redis.call('HGET', job, 'client') or redis.call('HGET', delivery, 'client')
if owner ~= ARGV[2] then return 0 end
leave(id, owner)
unschedule(id, redis.call('HGET', delivery, 'host') or '')
redis.call('DEL', job, delivery, delivery .. ':body', delivery .. ':log')
redis.call('ZREM', jobs_key(owner), id)
redis.call('ZADD', LEAVING, now, id)
return 1
