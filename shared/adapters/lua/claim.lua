-- Lease the job whose turn it is. ARGV: lease_ms, call, worker, most long jobs of this worker at once, lanes in the order
-- in which they are looked at. Asking again with the same `call`, after a lost reply, gives the same.
-- Returns {id, {client, command, attempt, fence, lane, form, trace}, reply, age in ms, ms that it waited since it was
-- accepted or handed back}, or nothing when no job may be taken.
local lease_ms, call, worker, most_long = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

-- The next job of the first client in line, which takes its next turn behind the others. A release of before turns
-- ends jobs without taking them out of line.
local function next_of(lane)
  while true do
    local first = redis.call('ZRANGE', line_key(lane), 0, 0, 'WITHSCORES')
    if not first[1] then return end
    local client, queue = first[1], queue_key(lane, first[1])
    local id = redis.call('ZPOPMIN', queue)[1]
    local found = id and redis.call('HMGET', job_key(id), 'status', 'weight') or {}
    local round = math.max(first[2], (round_of(lane)))
    redis.call('HSET', round_key(lane), 'at', round)
    if redis.call('EXISTS', queue) == 1 then
      redis.call('ZADD', line_key(lane), round + 1 / (tonumber(found[2]) or 1), client)
    else
      redis.call('ZREM', line_key(lane), client)
    end
    if found[1] == 'created' then return id end
  end
end

-- Whether this worker may run one more. A release of before lanes ends long jobs, and takes them back, without taking
-- them from their worker.
local function room_in(lane)
  local held = long_key(worker)
  if lane ~= 'long' or redis.call('SCARD', held) < most_long then return true end
  for _, id in ipairs(redis.call('SMEMBERS', held)) do
    local found = redis.call('HMGET', job_key(id), 'status', 'worker')
    if found[1] ~= 'running' or found[2] ~= worker then redis.call('SREM', held, id) end
  end
  return redis.call('SCARD', held) < most_long
end

local function lease(id, lane)
  local job = job_key(id)
  redis.call('HINCRBY', job, 'attempt', 1)
  redis.call('HINCRBY', job, 'fence', 1)
  redis.call('HSET', job, 'status', 'running', 'updated', now)
  redis.call('ZADD', RUNNING, now + lease_ms, id)
  if lane == 'long' then
    redis.call('HSET', job, 'worker', worker)
    redis.call('SADD', long_key(worker), id)
  end
  redis.call('SET', 'timbre:claim:' .. call, id, 'PX', lease_ms)
end

local function claimed(id, waiting_since)
  local record = redis.call('HMGET', job_key(id), 'client', 'command', 'attempt', 'fence', 'lane', 'form', 'trace', 'created')
  local created = table.remove(record)
  return {id, record, reply(id), now - created, now - waiting_since}
end

local before = redis.call('GET', 'timbre:claim:' .. call)
if before and redis.call('HGET', job_key(before), 'status') == 'running' then return claimed(before, now) end
for i = 5, #ARGV do
  local id = room_in(ARGV[i]) and next_of(ARGV[i])
  if id then
    local waiting_since = redis.call('HGET', job_key(id), 'updated')
    lease(id, ARGV[i])
    return claimed(id, waiting_since)
  end
end
return false
