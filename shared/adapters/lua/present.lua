-- Note that a process lives, if it agrees with those that do. ARGV: process, ms that a note is good for, ms that one
-- waits before it decides (0 for a process that agreed before), then names and values of what it must have in common
-- with them. Returns names and values of what is otherwise with the others; nil where it has to wait.
local SEEN, AGREEMENT = 'timbre:seen', 'timbre:agreement'
local process, life_ms, wait_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', SEEN, '-inf', now - life_ms)
-- The clock may have been set back, and who wrote it may be dead.
redis.call('ZREMRANGEBYSCORE', SEEN, now + life_ms, '+inf')
local others = {}
for i = 4, #ARGV, 2 do
  local theirs = redis.call('HGET', AGREEMENT, ARGV[i])
  if theirs and theirs ~= ARGV[i + 1] then
    table.insert(others, ARGV[i])
    table.insert(others, theirs)
  end
end
if #others > 0 and redis.call('EXISTS', SEEN) == 1 then return others end
-- Where nobody is left, a new agreement is made.
if #others > 0 or redis.call('EXISTS', AGREEMENT) == 0 then
  if not may_decide(wait_ms) then return false end
  redis.call('DEL', AGREEMENT)
end
redis.call('HSET', AGREEMENT, unpack(ARGV, 4))
redis.call('ZADD', SEEN, now, process)
redis.call('PEXPIRE', AGREEMENT, life_ms)
redis.call('PEXPIRE', SEEN, life_ms)
return {}
