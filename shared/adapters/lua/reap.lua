-- Find jobs that need somebody. ARGV: ring_after_ms, most attempts, deadline_ms.
-- Returns {how often to ring, {id, fence, reply} of each job to end as lost, {id, reply} of each past its deadline, how
-- many leases ran out and were taken back}.
-- A lease that ran out makes its job wait again; when its attempts are used up it stays until somebody ends it.
-- Every job that waits again is rung for, and once in a while the others, whose message may have been lost.
local MOST, rings, leases_lost, lost, late = 1000, 0, 0, {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', RUNNING, '-inf', now)) do
  local found = redis.call('HMGET', job_key(id), 'attempt', 'fence')
  if not found[1] then
    redis.call('ZREM', RUNNING, id)
  elseif tonumber(found[1]) >= tonumber(ARGV[2]) then
    table.insert(lost, {id, found[2], reply(id)})
  else
    requeue(id, now)
    rings, leases_lost = rings + 1, leases_lost + 1
  end
end

-- Jobs that have rested, and those that a release of before turns made wait.
for set, until_ms in pairs({[RESTING] = now, ['timbre:queued'] = '+inf'}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', until_ms, 'LIMIT', 0, MOST)) do
    redis.call('ZREM', set, id)
    local found = redis.call('HMGET', job_key(id), 'status', 'client')
    if found[1] == 'created' then
      line_up(id, found[2], true)
      rings = rings + 1
    end
  end
end

local waits = redis.call('EXISTS', line_key('short'), line_key('long')) > 0
if rings == 0 and waits and now - (redis.call('GET', 'timbre:rung') or 0) >= tonumber(ARGV[1]) then rings = 1 end
if rings > 0 then redis.call('SET', 'timbre:rung', now) end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', UNFINISHED, '-inf', now - ARGV[3], 'LIMIT', 0, MOST)) do
  table.insert(late, {id, reply(id)})
end
return {rings, lost, late, leases_lost}
