-- Return the processes that were alive within the last ms that ARGV names. A clock that was set back leaves later notes.
local life_ms = tonumber(ARGV[1])
return redis.call('ZRANGE', 'timbre:seen', now - life_ms, now + life_ms, 'BYSCORE')
