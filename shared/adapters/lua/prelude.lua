-- Stands before every script: the one clock of all processes, and what several scripts share.
-- ARGV[1] is the time in ms, or '' for Redis's own; it is taken off, so scripts count their arguments from 1.
local now = tonumber(table.remove(ARGV, 1))
if not now then
  local clock = redis.call('TIME')
  now = clock[1] * 1000 + math.floor(clock[2] / 1000)
end

local RUNNING, RESTING, UNFINISHED = 'timbre:running', 'timbre:resting', 'timbre:unfinished'
-- A client that comes is served after those in line, but not after the second turn of one of them; of several that come
-- in one round, the first to come is the first. Both are far less than a turn, and more than the precision of a number.
local NUDGE, STEP = 1 / 64, 1 / 2 ^ 20
-- Bytes of results are counted together that expire within so many ms.
local PERIOD_MS = 600 * 1000
-- The lanes that webhooks are taken from: SLOW has those to receivers whose last try took long.
local DUE, SLOW = 'timbre:due', 'timbre:slow'
local LEAVING, FORGETTING = 'timbre:leaving', 'timbre:forgetting'
-- When a courier last looked for webhooks, and until when none is taken for dead.
local COURIERS = 'timbre:couriers'
-- Since when processes found no agreement, and the ms for which that is known.
local UNDECIDED, DECIDING_MS = 'timbre:undecided', 10 * 1000

local function job_key(id) return 'timbre:job:' .. id end
local function delivery_key(id) return 'timbre:delivery:' .. id end
local function client_key(client) return 'timbre:unfinished:' .. client end
local function due_key(client, host) return table.concat({DUE, client, host}, ':') end
local function hosts_key(lane, client) return lane .. ':' .. client end
local function pace_key(client) return 'timbre:pace:' .. client end
local function inflight_key(...) return table.concat({'timbre:inflight', ...}, ':') end
local function jobs_key(client) return 'timbre:jobs:' .. client end
local function bytes_key(client) return 'timbre:bytes:' .. client end
local function line_key(lane) return 'timbre:line:' .. lane end
local function round_key(lane) return 'timbre:round:' .. lane end
local function queue_key(lane, client) return 'timbre:queue:' .. lane .. ':' .. client end
local function long_key(worker) return 'timbre:long:' .. worker end

-- Whether a process that found no agreement may make one. Redis may have lost it, and those that keep it look again every
-- second: they come first. So a newcomer waits, from the first time that any process found none.
local function may_decide(wait_ms)
  local since = tonumber(redis.call('GET', UNDECIDED))
  -- What is older may be from before Redis was away.
  if not since or since > now or now - since > DECIDING_MS then
    since = now
    redis.call('SET', UNDECIDED, now, 'PX', DECIDING_MS)
  end
  return now - since >= wait_ms
end

-- Whether `fence` is that of the running claim; '*' stands for whoever has the job, or nobody yet.
local function holds(id, fence)
  local found = redis.call('HMGET', job_key(id), 'status', 'fence')
  if fence == '*' then return found[1] == 'created' or found[1] == 'running' end
  return found[1] == 'running' and found[2] == fence
end

-- The round that a lane is in, and that in which the last client came.
local function round_of(lane)
  local found = redis.call('HMGET', round_key(lane), 'at', 'came')
  return tonumber(found[1] or 0), tonumber(found[2] or 0)
end

-- Put a created job in its client's queue, and the client in line: at its end, or, with a job that had its turn, first.
local function line_up(id, client, had_its_turn)
  local found = redis.call('HMGET', job_key(id), 'created', 'lane', 'weight')
  -- Jobs of the first release name neither.
  local lane, weight = found[2] or 'short', tonumber(found[3] or 1)
  local round, came = round_of(lane)
  redis.call('ZADD', queue_key(lane, client), found[1], id)
  if had_its_turn then
    redis.call('ZADD', line_key(lane), 'LT', round - 1, client)
  elseif not redis.call('ZSCORE', line_key(lane), client) then
    came = math.max(round, came + STEP)
    redis.call('HSET', round_key(lane), 'came', came)
    redis.call('ZADD', line_key(lane), came + 1 / weight - NUDGE, client)
  end
end

-- Take a job out of its client's queue, and out of line the client that has no more.
local function step_out(id, client, lane)
  redis.call('ZREM', queue_key(lane, client), id)
  if redis.call('EXISTS', queue_key(lane, client)) == 0 then redis.call('ZREM', line_key(lane), client) end
  redis.call('ZREM', RESTING, id)
end

-- Take a running job from its worker; only long jobs name one.
local function stop_running(id, worker)
  redis.call('ZREM', RUNNING, id)
  if worker then redis.call('SREM', long_key(worker), id) end
end

-- Add to a client's bytes: of unfinished jobs, or of those kept until some period since 1970.
local function count_bytes(client, which, more)
  if redis.call('HINCRBY', bytes_key(client), which, more) == 0 then redis.call('HDEL', bytes_key(client), which) end
end

-- Take a job out of everything that expects more of it; what it kept of its client's bytes is free.
local function leave(id, client)
  local found = redis.call('HMGET', job_key(id), 'status', 'lane', 'worker', 'bytes', 'bytes_until')
  if found[1] == 'running' then
    stop_running(id, found[3])
  else
    step_out(id, client, found[2] or 'short')
  end
  redis.call('ZREM', UNFINISHED, id)
  redis.call('SREM', client_key(client), id)
  if found[4] then count_bytes(client, found[5] or 'unfinished', 0 - found[4]) end
end

-- The lane of a client's webhooks to a host: by its last try there, or by its last try at all for a host never heard of.
local function lane_of(client, host)
  local pace = redis.call('HMGET', pace_key(client), host, '')
  return (pace[1] or pace[2]) == 'slow' and SLOW or DUE
end

-- Put a host of a client into its lane, by the time of its first webhook, and into no other. Client and host keep their
-- place in line, or come behind those that wait.
local function route(client, host)
  local lane = lane_of(client, host)
  redis.call('ZREM', hosts_key(lane == DUE and SLOW or DUE, client), host)
  local first = redis.call('ZRANGE', due_key(client, host), 0, 0, 'WITHSCORES')[2]
  if not first then return end
  redis.call('ZADD', hosts_key(lane, client), 'LT', math.max(first, now), host)
  redis.call('ZADD', lane, 'LT', math.max(first, now), client)
end

-- Note how long a try took, 'quick' or 'slow', which is forgotten after a day. Of a client with very many hosts all is
-- forgotten from time to time.
local function note_pace(client, host, pace)
  local known = pace_key(client)
  if redis.call('HLEN', known) > 100 then redis.call('DEL', known) end
  redis.call('HSET', known, host, pace, '', pace)
  redis.call('PEXPIRE', known, 24 * 3600 * 1000)
end

-- Make a webhook due at a time, and its host and client along with it, or not due at all.
local function schedule(id, client, host, at)
  redis.call('ZADD', due_key(client, host), at, id)
  route(client, host)
end
local function unschedule(id, client, host) redis.call('ZREM', due_key(client, host), id) end

-- A try is no longer on its way: there is room for another of the client, and for one to the host.
local function land(id, sent, client, host)
  redis.call('ZREM', inflight_key(client), id .. ':' .. sent)
  redis.call('ZREM', inflight_key(client, host), id .. ':' .. sent)
  for _, lane in ipairs({DUE, SLOW}) do
    redis.call('ZADD', hosts_key(lane, client), 'XX', 'LT', now, host)
    redis.call('ZADD', lane, 'XX', 'LT', now, client)
  end
end

-- The fields of a job that say how its end is told, see `Reply`.
local function reply(id) return redis.call('HMGET', job_key(id), 'dialect', 'webhook', 'status_only') end

-- Make a running job wait again: its client is served next, at once or, where `at` is later, then.
local function requeue(id, at)
  stop_running(id, redis.call('HGET', job_key(id), 'worker'))
  redis.call('HSET', job_key(id), 'status', 'created', 'updated', now)
  redis.call('HDEL', job_key(id), 'step', 'progress', 'worker')
  if at > now then
    redis.call('ZADD', RESTING, at, id)
  else
    line_up(id, redis.call('HGET', job_key(id), 'client'), true)
  end
end

