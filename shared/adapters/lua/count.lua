-- Count a call in a window that begins with the first. KEYS: counter. ARGV: window_ms.
-- Returns {calls in the window, ms until it ends}.
local calls = redis.call('INCR', KEYS[1])
if calls == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {calls, redis.call('PTTL', KEYS[1])}
