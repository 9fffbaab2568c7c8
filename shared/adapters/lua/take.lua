-- Take due webhooks to send. ARGV: most, most in flight per host, send_ms, most tries.
-- A try is spent before it is made, so that no number is ever sent under two meanings; if its courier dies, the webhook
-- is due again after send_ms, with the next number. A host that has enough on its way is looked at again when one of
-- them is settled, and keeps nobody else waiting. Returns {id, client, url, host, body, try, sent, reason} for each.
local taken = {}

local function spend(id, host)
  local delivery = delivery_key(id)
  local found = redis.call('HMGET', delivery, 'client', 'url', 'reason', 'try')
  local body = redis.call('GET', delivery .. ':body')
  local over = (not found[2] or not body) and 'expired' or tonumber(found[4]) >= tonumber(ARGV[4]) and 'exhausted'
  if over then
    unschedule(id, host)
    if found[2] then redis.call('HSET', delivery, 'state', over) end
    return
  end
  local try = redis.call('HINCRBY', delivery, 'try', 1)
  local sent = redis.call('HINCRBY', delivery, 'sent', 1)
  redis.call('ZADD', inflight_key(host), now + ARGV[3], id .. ':' .. sent)
  redis.call('PEXPIRE', inflight_key(host), ARGV[3])
  schedule(id, host, now + ARGV[3])
  table.insert(taken, {id, found[1], found[2], host, body, try, sent, found[3]})
end

for _, host in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREMRANGEBYSCORE', inflight_key(host), '-inf', now)
  local free = math.min(ARGV[2] - redis.call('ZCARD', inflight_key(host)), ARGV[1] - #taken)
  if free > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', due_key(host), '-inf', now, 'LIMIT', 0, free)) do spend(id, host) end
  end
  local next_due = redis.call('ZRANGE', due_key(host), 0, 0, 'WITHSCORES')[2]
  if not next_due then
    redis.call('ZREM', DUE, host)
  else
    local full = redis.call('ZCARD', inflight_key(host)) >= tonumber(ARGV[2])
    redis.call('ZADD', DUE, full and math.max(next_due, now + 1000) or next_due, host)
  end
  if #taken >= tonumber(ARGV[1]) then break end
end
return taken
