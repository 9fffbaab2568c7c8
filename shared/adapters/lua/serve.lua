-- Confirm what all workers have in common, if this one has it too. ARGV: its facts as JSON, ms that they are good for,
-- ms that it waits before it decides (0 for a worker that confirmed before). Returns names and values of what is
-- otherwise with the others; nil where it has to wait.
local SERVED = 'timbre:served'
local found = redis.call('GET', SERVED)
if not found and not may_decide(tonumber(ARGV[3])) then return false end
local ours, others = cjson.decode(ARGV[1]), {}
for name, theirs in pairs(cjson.decode(found or '{}')) do
  if ours[name] and ours[name] ~= theirs then
    table.insert(others, name)
    table.insert(others, theirs)
  end
end
if #others == 0 then redis.call('SET', SERVED, ARGV[1], 'PX', ARGV[2]) end
return others
