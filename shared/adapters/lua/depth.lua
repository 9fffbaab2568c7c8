-- Tell how much waits, for metrics. ARGV: most hosts of webhooks that are looked at, and as many jobs that rest; lanes.
-- Returns {running jobs, {webhooks due, ms since the first was}, {jobs that wait, age of the oldest in ms} of each lane}.
-- A client costs two commands, however many jobs it has.
local most, lanes, told = tonumber(ARGV[1]), {}, {}

local function see(found, number, since)
  found[1] = found[1] + number
  if number > 0 then found[2] = math.max(found[2], now - since) end
end

for i = 2, #ARGV do
  local found = {0, 0}
  for _, client in ipairs(redis.call('ZRANGE', line_key(ARGV[i]), 0, -1)) do
    local queue = queue_key(ARGV[i], client)
    see(found, redis.call('ZCARD', queue), redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2] or now)
  end
  lanes[ARGV[i]] = found
  table.insert(told, found)
end
for _, id in ipairs(redis.call('ZRANGE', RESTING, 0, most - 1)) do
  local found = redis.call('HMGET', job_key(id), 'status', 'lane', 'created')
  if found[1] == 'created' then see(lanes[found[2] or 'short'], 1, found[3]) end
end

-- The scores of clients and hosts may lie ahead of those of their webhooks, see take.lua: each is looked at.
local function due()
  local found, left = {0, 0}, most
  for _, lane in ipairs({DUE, SLOW}) do
    for _, client in ipairs(redis.call('ZRANGE', lane, 0, -1)) do
      if left < 1 then return found end
      for _, host in ipairs(redis.call('ZRANGE', hosts_key(lane, client), 0, left - 1)) do
        local key = due_key(client, host)
        see(found, redis.call('ZCOUNT', key, '-inf', now), redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or now)
        left = left - 1
      end
    end
  end
  return found
end
return {redis.call('ZCARD', RUNNING), due(), unpack(told)}
