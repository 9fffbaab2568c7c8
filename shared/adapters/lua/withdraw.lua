-- Take a job out of everybody's hands, to delete it. ARGV: id, client, call, hold_ms, ttl_ms, channel that
-- wakes those who wait for it, its media as this release and as the one before wrote it.
-- Returns {output or '', 1 if another unfinished job has the same media}; nothing when there is no such job of the client's, or another call has it for now. Asking
-- again with the same `call`, after a lost reply, gives the same.
-- What is left of its record is no client's job any more, but can be withdrawn again when the call breaks off.
local id, job, delivery = ARGV[1], job_key(ARGV[1]), delivery_key(ARGV[1])
local found = redis.call('HMGET', job, 'client', 'withdrawn_from', 'withdrawn_by', 'withdrawn_until')
-- The log of a webhook outlives its job.
local owner = found[1] or found[2] or redis.call('HGET', delivery, 'client')
if owner ~= ARGV[2] then return false end
if found[3] and found[3] ~= ARGV[3] and now < tonumber(found[4]) then return false end
leave(id, owner)
redis.call('ZREM', jobs_key(owner), id)
unschedule(id, owner, redis.call('HGET', delivery, 'host') or '')
redis.call('DEL', delivery, delivery .. ':body', delivery .. ':log')
redis.call('HDEL', job, 'client', 'status', 'command', 'name', 'step', 'progress', 'webhook', 'bytes')
redis.call('HSET', job, 'withdrawn_from', owner, 'withdrawn_by', ARGV[3], 'withdrawn_until', now + ARGV[4])
-- A job that had ended is kept no longer than it would have been.
redis.call('PEXPIRE', job, ARGV[5], 'NX')
redis.call('ZADD', LEAVING, 'NX', now + ARGV[5], id)
redis.call('ZADD', LEAVING, now, 'commands')
-- Who may not publish ends jobs all the same; waits then run out their time.
redis.pcall('PUBLISH', ARGV[6], id)
local in_use = 0
if ARGV[7] ~= '' then
  for _, other in ipairs(redis.call('SMEMBERS', client_key(owner))) do
    local media = redis.call('HGET', job_key(other), 'media')
    if media == ARGV[7] or media == ARGV[8] then in_use = 1 end
  end
end
return {redis.call('HGET', job, 'output') or '', in_use}
