-- Take due webhooks to send. ARGV: most of each lane, then for the quick and the slow lane each: free senders of the
-- courier, all senders of it, most in flight per client; then most in flight per host of a client, send_ms, slow_ms, most
-- tries where none are stored, most log entries, silence_ms, patience_ms.
-- A try is spent before it is made, so that no number is ever sent under two meanings; if its courier dies, the webhook
-- is due again after send_ms, with the next number. A client or host that has enough on its way is looked at again when
-- a try lands, or after a second, and keeps nobody else waiting: few can be full, since each holds senders.
-- Returns {id, client, url, dialect, body, try, sent, reason, 1 for the slow lane, trace} for each.
local PER_HOST, SEND_MS, SLOW_MS, FIRST_TRIES, LOG_LENGTH, SILENCE_MS, PATIENCE_MS = unpack(ARGV, 8)
PER_HOST, SILENCE_MS = tonumber(PER_HOST), tonumber(SILENCE_MS)
local taken = {}

-- When no courier has looked for silence_ms, Redis was away: they may hold outcomes that they could not note, so for
-- patience_ms no try is taken for lost. The time is noted once a second, as each note goes to Redis's file.
local function patient_until()
  local found = redis.call('HMGET', COURIERS, 'looked', 'patient_until')
  local silent = math.abs(now - (found[1] or 0))
  if silent > 1000 then redis.call('HSET', COURIERS, 'looked', now) end
  if silent <= SILENCE_MS then return tonumber(found[2]) end
  redis.call('HSET', COURIERS, 'patient_until', now + PATIENCE_MS)
  return now + PATIENCE_MS
end
local patience_ends = patient_until()

-- How many are on their way under a key, those of dead couriers left out.
local function under_way(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  return redis.call('ZCARD', key)
end

-- Whether one of them has taken long already.
local function hangs(key)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  return first and first - SEND_MS < now - SLOW_MS
end

-- Look at a queue again when its first is due, behind those that wait already, and not at once if it is full.
local function look_again(queues, name, queue, full)
  local next_due = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2]
  if not next_due then return redis.call('ZREM', queues, name) end
  redis.call('ZADD', queues, math.max(next_due, full and now + 1000 or now), name)
end

-- Log the bare number and time of a try; how it went takes their place, unless its courier dies.
local function log_try(delivery, try, sent)
  redis.call('HSET', delivery, sent, try .. ':' .. now)
  redis.call('HDEL', delivery, sent - LOG_LENGTH, 'answer:' .. sent - LOG_LENGTH)
end

local function is_unsettled(delivery, sent)
  return string.match(redis.call('HGET', delivery, sent) or '', '^%d+:%d+$')
end

local function spend(lane, id, client, host)
  local delivery = delivery_key(id)
  local found = redis.call('HMGET', delivery, 'url', 'reason', 'try', 'tries', 'dialect', 'state', 'sent', 'trace')
  if now < patience_ends and found[7] and is_unsettled(delivery, found[7]) then
    return schedule(id, client, host, patience_ends)
  end
  local body = redis.call('GET', delivery .. ':body')
  local over = (not found[1] or not body) and 'expired' or tonumber(found[3]) >= tonumber(found[4] or FIRST_TRIES) and 'exhausted'
  if over then
    unschedule(id, client, host)
    if found[6] then redis.call('HSET', delivery, 'state', over) end
    return
  end
  local try = redis.call('HINCRBY', delivery, 'try', 1)
  local sent = redis.call('HINCRBY', delivery, 'sent', 1)
  redis.call('HSET', delivery, 'reason', '')
  log_try(delivery, try, sent)
  for _, key in ipairs({inflight_key(client), inflight_key(client, host)}) do
    redis.call('ZADD', key, now + SEND_MS, id .. ':' .. sent)
    redis.call('PEXPIRE', key, SEND_MS)
  end
  schedule(id, client, host, now + SEND_MS)
  table.insert(taken, {id, client, found[1], found[5] or '', body, try, sent, found[2], lane == SLOW and 1 or 0, found[8] or ''})
end

local function take_from(lane, client, host, most)
  local due, flying = due_key(client, host), inflight_key(client, host)
  local free = math.min(most, PER_HOST - under_way(flying))
  if lane == DUE and hangs(flying) then note_pace(client, host, 'slow') end
  if lane_of(client, host) ~= lane then return route(client, host) end
  if free > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, free)) do spend(lane, id, client, host) end
  end
  look_again(hosts_key(lane, client), host, due, under_way(flying) >= PER_HOST)
end

-- A client's share falls with the free senders, to one: so however many clients hang, others find some free.
local function room(client, lane, free)
  return math.ceil(lane.per_client * free / lane.all) - under_way(inflight_key(client))
end

local function take_from_client(lane, client, free, most)
  local before, flying, hosts = #taken, inflight_key(client), hosts_key(lane.key, client)
  if lane.key == DUE and hangs(flying) then note_pace(client, '', 'slow') end
  for _, host in ipairs(redis.call('ZRANGEBYSCORE', hosts, '-inf', now, 'LIMIT', 0, 10)) do
    local took = #taken - before
    local left = math.min(most - took, room(client, lane, free - took))
    if left < 1 then break end
    take_from(lane.key, client, host, left)
  end
  look_again(lane.key, client, hosts, room(client, lane, free - (#taken - before)) < 1)
end

local function take_lane(key, free, all, per_client)
  local lane, before, most = {key = key, all = all, per_client = per_client}, #taken, math.min(ARGV[1], free)
  for _, client in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, 500)) do
    local took = #taken - before
    if took >= most then return end
    take_from_client(lane, client, free - took, most - took)
  end
end

take_lane(DUE, ARGV[2], ARGV[3], ARGV[4])
take_lane(SLOW, ARGV[5], ARGV[6], ARGV[7])
return taken
