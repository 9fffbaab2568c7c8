-- List a client's jobs, newest first. ARGV: client, status ('' for any), time and id of the place to start behind
-- ('+inf' and '' for the newest), how many to skip, how many to take, how many ids to look at at most.
-- Returns {time and id of the place to go on behind, or nothing at the end; how many are still to be skipped; id, status,
-- created, kind, name and audio_s of each job}.
local jobs, skip, most, most_read = jobs_key(ARGV[1]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

-- The job whose place it is may be gone; of one time, the ids stand in order.
local from = redis.call('ZCOUNT', jobs, '(' .. ARGV[3], '+inf')
for _, id in ipairs(redis.call('ZRANGEBYSCORE', jobs, ARGV[3], ARGV[3])) do
  if id >= ARGV[4] then from = from + 1 end
end

local read, found = redis.call('ZREVRANGE', jobs, from, from + most_read - 1, 'WITHSCORES'), {}
for i = 1, #read, 2 do
  local job = redis.call('HMGET', job_key(read[i]), 'status', 'created', 'kind', 'name', 'audio_s')
  if job[1] and (ARGV[2] == '' or job[1] == ARGV[2]) then
    if skip > 0 then skip = skip - 1 else table.insert(found, {read[i], unpack(job)}) end
    if #found == most then break end
  end
end
local rest = #read == 2 * most_read
return {rest and {read[#read], read[#read - 1]} or {}, skip, found}
