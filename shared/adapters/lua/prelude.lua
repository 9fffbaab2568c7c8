-- Stands before every script: the one clock of all processes, and what several scripts share.
-- ARGV[1] is the time in ms, or '' for Redis's own; it is taken off, so scripts count their arguments from 1.
local now = tonumber(table.remove(ARGV, 1))
if not now then
  local clock = redis.call('TIME')
  now = clock[1] * 1000 + math.floor(clock[2] / 1000)
end

local QUEUED, RUNNING, UNFINISHED, DUE = 'timbre:queued', 'timbre:running', 'timbre:unfinished', 'timbre:due'
local LEAVING, FORGETTING = 'timbre:leaving', 'timbre:forgetting'

local function job_key(id) return 'timbre:job:' .. id end
local function delivery_key(id) return 'timbre:delivery:' .. id end
local function client_key(client) return 'timbre:unfinished:' .. client end
local function due_key(...) return table.concat({DUE, ...}, ':') end
local function inflight_key(name) return 'timbre:inflight:' .. name end
local function waiting_key(host) return 'timbre:waiting:' .. host end
local function jobs_key(client) return 'timbre:jobs:' .. client end

-- Whether `fence` is that of the running claim; '*' stands for whoever has the job, or nobody yet.
local function holds(id, fence)
  local found = redis.call('HMGET', job_key(id), 'status', 'fence')
  if fence == '*' then return found[1] == 'created' or found[1] == 'running' end
  return found[1] == 'running' and found[2] == fence
end

-- Take a job out of everything that expects more of it.
local function leave(id, client)
  for _, set in ipairs({QUEUED, RUNNING, UNFINISHED}) do redis.call('ZREM', set, id) end
  redis.call('SREM', client_key(client), id)
end

-- Make a webhook due at a time, and its host and client along with it, or not due at all.
local function schedule(id, client, host, at)
  redis.call('ZADD', due_key(client, host), at, id)
  redis.call('ZADD', due_key(client), 'LT', at, host)
  redis.call('ZADD', DUE, 'LT', at, client)
end
local function unschedule(id, client, host) redis.call('ZREM', due_key(client, host), id) end

-- A try is no longer on its way: there is room for another of the client, and for whoever has waited longest for the
-- host.
local function land(id, sent, client, host)
  for _, name in ipairs({client, host}) do redis.call('ZREM', inflight_key(name), id .. ':' .. sent) end
  redis.call('ZADD', DUE, 'XX', 'LT', now, client)
  local first = redis.call('LPOP', waiting_key(host))
  if first then
    redis.call('ZADD', due_key(first), 'XX', 'LT', now, host)
    redis.call('ZADD', DUE, 'XX', 'LT', now, first)
  end
end

-- The fields of a job that say how its end is told, see `Reply`.
local function reply(id) return redis.call('HMGET', job_key(id), 'dialect', 'webhook', 'status_only') end

-- Put a running job back among those that wait, to be rung for at once.
local function requeue(id)
  redis.call('ZREM', RUNNING, id)
  redis.call('HSET', job_key(id), 'status', 'created', 'updated', now)
  redis.call('HDEL', job_key(id), 'step', 'progress')
  redis.call('ZADD', QUEUED, 0, id)
end

