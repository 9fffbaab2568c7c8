-- Take due webhooks to send. ARGV: most, most in flight per client, per host, send_ms, most tries where none are stored,
-- log_ttl_ms, most log entries.
-- A try is spent before it is made, so that no number is ever sent under two meanings; if its courier dies, the webhook
-- is due again after send_ms, with the next number. A client or host that has enough on its way is looked at again when
-- a try lands, or after a second, and keeps nobody else waiting: so few hosts can be full that a client's queue holds
-- little to pass over, and a full client is passed over at once, whatever it has due.
-- Returns {id, client, url, dialect, body, try, sent, reason} for each.
local taken = {}

-- How many more may be on their way for a client, or to a host.
local function room(name, most)
  redis.call('ZREMRANGEBYSCORE', inflight_key(name), '-inf', now)
  return most - redis.call('ZCARD', inflight_key(name))
end

-- Look at a queue again when its first is due, and not at once if it is full.
local function look_again(queues, name, queue, full)
  local next_due = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2]
  if not next_due then return redis.call('ZREM', queues, name) end
  redis.call('ZADD', queues, full and math.max(next_due, now + 1000) or next_due, name)
end

-- Log the bare number and time of a try; how it went takes their place, unless its courier dies.
local function log_try(lines, try, sent)
  redis.call('HSET', lines, sent, try .. ':' .. now)
  redis.call('HDEL', lines, sent - ARGV[7])
  redis.call('PEXPIRE', lines, ARGV[6])
end

local function spend(id, client, host)
  local delivery = delivery_key(id)
  local found = redis.call('HMGET', delivery, 'url', 'reason', 'try', 'tries', 'dialect')
  local body = redis.call('GET', delivery .. ':body')
  local over = (not found[1] or not body) and 'expired' or tonumber(found[3]) >= tonumber(found[4] or ARGV[5]) and 'exhausted'
  if over then
    unschedule(id, client, host)
    if found[1] then redis.call('HSET', delivery, 'state', over) end
    return
  end
  local try = redis.call('HINCRBY', delivery, 'try', 1)
  local sent = redis.call('HINCRBY', delivery, 'sent', 1)
  redis.call('HSET', delivery, 'reason', '')
  log_try(delivery .. ':log', try, sent)
  for _, name in ipairs({client, host}) do
    redis.call('ZADD', inflight_key(name), now + ARGV[4], id .. ':' .. sent)
    redis.call('PEXPIRE', inflight_key(name), ARGV[4])
  end
  schedule(id, client, host, now + ARGV[4])
  table.insert(taken, {id, client, found[1], found[5] or '', body, try, sent, found[2]})
end

local function wait(client, host)
  if not redis.call('LPOS', waiting_key(host), client) then redis.call('RPUSH', waiting_key(host), client) end
  redis.call('PEXPIRE', waiting_key(host), ARGV[4])
end

local function take_from(client, host, most)
  local due = due_key(client, host)
  local free = math.min(most, room(host, ARGV[3]))
  if free > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, free)) do spend(id, client, host) end
  end
  local full = room(host, ARGV[3]) < 1
  if full and redis.call('ZCOUNT', due, '-inf', now) > 0 then wait(client, host) end
  look_again(due_key(client), host, due, full)
end

for _, client in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, 100)) do
  for _, host in ipairs(redis.call('ZRANGEBYSCORE', due_key(client), '-inf', now, 'LIMIT', 0, 10)) do
    local free = math.min(ARGV[1] - #taken, room(client, ARGV[2]))
    if free < 1 then break end
    take_from(client, host, free)
  end
  look_again(DUE, client, due_key(client), room(client, ARGV[2]) < 1)
  if ARGV[1] - #taken < 1 then break end
end
return taken
