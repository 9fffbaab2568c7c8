-- Begin to forget the jobs whose time is over, at most once in a while. ARGV: every_ms, most jobs at once.
-- Returns the time (ms) up to which records were removed, or nothing while there is nothing to do.
-- Redis removes what expired when it comes across it, which may be much later; here the records go for certain.
local over = redis.call('ZRANGEBYSCORE', LEAVING, '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
if not over[1] or not redis.call('SET', FORGETTING, now, 'NX', 'PX', ARGV[1]) then return false end
for i = 1, #over, 2 do redis.call('DEL', job_key(over[i]), delivery_key(over[i]) .. ':body') end
return over[#over]
