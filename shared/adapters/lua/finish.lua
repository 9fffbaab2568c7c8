-- End a job, and put its webhook in the outbox in the same step.
-- ARGV: id, fence or '*', status, output, ttl_ms, webhook body, most tries, log_ttl_ms, call, channel that announces the
-- end to those who wait for it, length of the recording in seconds or ''.
-- Returns {{kind, lane}, age in ms}, also when asked again with the same `call` after a lost reply; nothing when the claim
-- was lost or the job had ended otherwise.
local id, job = ARGV[1], job_key(ARGV[1])
local function told()
  local found = redis.call('HMGET', job, 'updated', 'created')
  return {redis.call('HMGET', job, 'kind', 'lane'), found[1] - found[2]}
end
if not holds(id, ARGV[2]) then return redis.call('HGET', job, 'ended_by') == ARGV[9] and told() end
local client, bytes, period = redis.call('HGET', job, 'client'), #ARGV[4] + #ARGV[6], math.floor((now + ARGV[5]) / PERIOD_MS)
leave(id, client)
count_bytes(client, period, bytes)
redis.call('HSET', job, 'status', ARGV[3], 'output', ARGV[4], 'ended_by', ARGV[9], 'updated', now,
           'bytes', bytes, 'bytes_until', period)
if ARGV[11] ~= '' then redis.call('HSET', job, 'audio_s', ARGV[11]) end
local found = redis.call('HMGET', job, 'webhook', 'host', 'client', 'dialect', 'trace')
-- What holds signed addresses and others' voiceprints is not kept longer than it is needed.
redis.call('HDEL', job, 'command', 'step', 'progress', 'webhook', 'worker', 'weight')
redis.call('PEXPIRE', job, ARGV[5])
redis.call('ZADD', LEAVING, now, 'commands', now + ARGV[5], id)
if found[1] and found[1] ~= '' then
  local delivery = delivery_key(id)
  redis.call('SET', delivery .. ':body', ARGV[6], 'PX', ARGV[5])
  redis.call('HSET', delivery, 'client', found[3], 'url', found[1], 'host', found[2],
             'dialect', found[4] or '', 'trace', found[5] or '', 'tries', ARGV[7], 'state', 'pending', 'try', 0, 'sent', 0, 'reason', '')
  redis.call('PEXPIRE', delivery, ARGV[8])
  schedule(id, found[3], found[2], now)
end
-- Who may not publish ends jobs all the same; waits then run out their time.
redis.pcall('PUBLISH', ARGV[10], id)
return told()
