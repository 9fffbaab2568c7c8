-- Send a webhook once more, tries counted from the start. ARGV: id, client.
-- Returns 'ok', 'none' when the job had no webhook or is not the client's, 'pending' while tries are still to come,
-- 'gone' when its body was deleted.
local delivery = delivery_key(ARGV[1])
local found = redis.call('HMGET', delivery, 'client', 'state', 'host')
if found[1] ~= ARGV[2] then return 'none' end
if redis.call('EXISTS', delivery .. ':body') == 0 then return 'gone' end
if found[2] == 'pending' then return 'pending' end
redis.call('HSET', delivery, 'state', 'pending', 'try', 0, 'reason', '')
schedule(ARGV[1], ARGV[2], found[3], now)
return 'ok'
