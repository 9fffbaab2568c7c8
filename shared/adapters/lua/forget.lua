-- Begin to forget the jobs whose time is over, at most once in a while. ARGV: every_ms, most jobs at once.
-- Returns the time (ms) up to which records were removed, or nothing while there is nothing to do.
-- Redis removes what expired when it comes across it, which may be much later; here the records go for certain.
local over = redis.call('ZRANGEBYSCORE', LEAVING, '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
if not over[1] or not redis.call('SET', FORGETTING, now, 'NX', 'PX', ARGV[1]) then return false end

-- Keep of a webhook what its log says, but for what is sealed. A new hash takes a third of the room: one that once held
-- long values stays wide.
local function shrink(delivery)
  local record, kept, left_ms = redis.call('HGETALL', delivery), {}, redis.call('PTTL', delivery)
  for i = 1, #record, 2 do
    local name = record[i]
    if tonumber(name) or name == 'client' or name == 'state' or name == 'sent' then
      table.insert(kept, name)
      table.insert(kept, record[i + 1])
    end
  end
  redis.call('DEL', delivery, delivery .. ':body')
  if left_ms < 1 then return end
  redis.call('HSET', delivery, unpack(kept))
  redis.call('PEXPIRE', delivery, left_ms)
end

for i = 1, #over, 2 do
  redis.call('DEL', job_key(over[i]))
  shrink(delivery_key(over[i]))
end
return over[#over]
