-- Find jobs that need somebody. KEYS: doorbell. ARGV: ring_after_ms, most attempts, deadline_ms.
-- Returns {ids to ring for, {id, fence, reply} of each job to end as lost, {id, reply} of each past its deadline}.
-- A lease that ran out puts its job back in the queue; when its attempts are used up it stays until somebody ends it.
-- A job that nobody claimed for a while is rung for again, but only as far as the doorbell holds fewer messages than
-- jobs wait: the others' messages are there, or soon will be found to be not.
local lost = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', RUNNING, '-inf', now)) do
  local found = redis.call('HMGET', job_key(id), 'attempt', 'fence')
  if not found[1] then
    redis.call('ZREM', RUNNING, id)
  elseif tonumber(found[1]) >= tonumber(ARGV[2]) then
    table.insert(lost, {id, found[2], reply(id)})
  else
    requeue(id)
  end
end
local missing = math.max(0, redis.call('ZCARD', QUEUED) - redis.call('LLEN', KEYS[1]))
local silent = redis.call('ZRANGEBYSCORE', QUEUED, '-inf', now - ARGV[1], 'LIMIT', 0, missing)
for _, id in ipairs(silent) do redis.call('ZADD', QUEUED, now, id) end
local late = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', UNFINISHED, '-inf', now - ARGV[3])) do
  table.insert(late, {id, reply(id)})
end
return {silent, lost, late}
