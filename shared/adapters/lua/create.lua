-- Store a new job, once. KEYS: idempotency record or ''. ARGV: id, client, command, media key or '', webhook or '', its
-- host, status only ('1' or ''), fingerprint, idempotency_ms, most unfinished jobs, longest life_ms of a job,
-- dialect.
-- Returns {'created', time}, {'repeated', id, fingerprint} when the idempotency key was used before, or {'full'}.
local id, client = ARGV[1], ARGV[2]
if KEYS[1] ~= '' then
  local before = redis.call('HMGET', KEYS[1], 'job', 'fingerprint')
  if before[1] and before[1] ~= id then return {'repeated', before[1], before[2]} end
end
local job = job_key(id)
-- A caller whose reply was lost asks again; the job may even be running by now.
if redis.call('EXISTS', job) == 1 then return {'created', redis.call('HGET', job, 'created')} end
if redis.call('SCARD', client_key(client)) >= tonumber(ARGV[10]) then return {'full'} end
redis.call('HSET', job, 'client', client, 'command', ARGV[3], 'media', ARGV[4], 'webhook', ARGV[5],
           'host', ARGV[6], 'status_only', ARGV[7], 'dialect', ARGV[12], 'status', 'created', 'attempt', 0, 'fence', 0, 'created', now, 'updated', now)
redis.call('ZADD', QUEUED, now, id)
redis.call('ZADD', UNFINISHED, now, id)
redis.call('SADD', client_key(client), id)
redis.call('ZADD', jobs_key(client), now, id)
redis.call('ZREMRANGEBYSCORE', jobs_key(client), '-inf', now - ARGV[11])
redis.call('PEXPIRE', jobs_key(client), ARGV[11])
if KEYS[1] ~= '' then
  redis.call('HSET', KEYS[1], 'job', id, 'fingerprint', ARGV[8])
  redis.call('PEXPIRE', KEYS[1], ARGV[9])
end
return {'created', now}
