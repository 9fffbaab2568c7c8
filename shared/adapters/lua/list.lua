-- List a client's jobs, newest first. ARGV: client, status ('' for any), id to start behind ('' for the newest),
-- how many to skip, how many to take. Returns id, status, created for each; false for an id that is not there.
-- One script holds up everybody, so that a rare status is looked for among so many only.
local MOST_READ = 10000
local jobs, from, skip = jobs_key(ARGV[1]), 0, tonumber(ARGV[4])
if ARGV[3] ~= '' then
  from = redis.call('ZREVRANK', jobs, ARGV[3])
  if not from then return false end
  from = from + 1
end
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', jobs, from, from + MOST_READ)) do
  local job = redis.call('HMGET', job_key(id), 'status', 'created')
  if job[1] and (ARGV[2] == '' or job[1] == ARGV[2]) then
    if skip > 0 then
      skip = skip - 1
    else
      for _, value in ipairs({id, job[1], job[2]}) do table.insert(found, value) end
      if #found == 3 * ARGV[5] then break end
    end
  end
end
return found
