-- Lease a created job. ARGV: id, lease_ms, call. Asking again with the same `call`, after a lost reply, gives the same.
-- Returns {{client, command, attempt, fence}, reply}, or nothing when the job is not waiting.
local id, job = ARGV[1], job_key(ARGV[1])
local found = redis.call('HMGET', job, 'status', 'claimed_by')
if found[1] == 'created' then
  redis.call('HINCRBY', job, 'attempt', 1)
  redis.call('HINCRBY', job, 'fence', 1)
  redis.call('HSET', job, 'status', 'running', 'claimed_by', ARGV[3], 'updated', now)
  redis.call('ZREM', QUEUED, id)
  redis.call('ZADD', RUNNING, now + ARGV[2], id)
elseif found[1] ~= 'running' or found[2] ~= ARGV[3] then
  return false
end
return {redis.call('HMGET', job, 'client', 'command', 'attempt', 'fence'), reply(id)}
