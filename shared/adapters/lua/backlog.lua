-- Count what is unfinished. Returns {waiting, running, age of the oldest in ms}.
-- A Redis that refuses writes, for it is full say, takes no jobs: one tiny write finds out.
redis.call('SET', 'timbre:ready', now, 'PX', 60000)
local oldest = redis.call('ZRANGE', UNFINISHED, 0, 0, 'WITHSCORES')
local running = redis.call('ZCARD', RUNNING)
return {redis.call('ZCARD', UNFINISHED) - running, running, oldest[2] and now - oldest[2] or 0}
