-- Count what is unfinished. Returns {waiting, running, age of the oldest in ms}.
local oldest = redis.call('ZRANGE', UNFINISHED, 0, 0, 'WITHSCORES')
return {redis.call('ZCARD', QUEUED), redis.call('ZCARD', RUNNING), oldest[2] and now - oldest[2] or 0}
