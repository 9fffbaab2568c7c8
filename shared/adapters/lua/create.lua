-- Store a new job, once. KEYS: idempotency record or ''. ARGV: id, client, command, tag of the media key or '', webhook
-- or '', its host, status only ('1' or ''), fingerprint, idempotency_ms, most unfinished jobs, longest life_ms of a job,
-- dialect, lane, turns of the client a round, most bytes of a client, the media key sealed or '', form of the record, kind
-- of its command, trace that it belongs to or '', the name of its recording sealed or ''.
-- Returns {'created', time}, {'repeated', id, fingerprint} when the idempotency key was used before, {'full'} or
-- {'heavy'} when the client has too many unfinished jobs, or too many bytes.
local id, client = ARGV[1], ARGV[2]
if KEYS[1] ~= '' then
  local before = redis.call('HMGET', KEYS[1], 'job', 'fingerprint')
  if before[1] and before[1] ~= id then return {'repeated', before[1], before[2]} end
end
local job = job_key(id)
-- A caller whose reply was lost asks again; the job may even be running by now.
if redis.call('EXISTS', job) == 1 then return {'created', redis.call('HGET', job, 'created')} end
if redis.call('SCARD', client_key(client)) >= tonumber(ARGV[10]) then return {'full'} end

-- Bytes of a client: of unfinished jobs, and of results whose period has not passed.
local function bytes_of(client)
  local sum, period, found = 0, math.floor(now / PERIOD_MS), redis.call('HGETALL', bytes_key(client))
  for i = 1, #found, 2 do
    if found[i] == 'unfinished' or tonumber(found[i]) >= period then
      sum = sum + found[i + 1]
    else
      redis.call('HDEL', bytes_key(client), found[i])
    end
  end
  return sum
end

-- A release that counted no bytes, which ended jobs of this one, left theirs.
if redis.call('SCARD', client_key(client)) == 0 then redis.call('HDEL', bytes_key(client), 'unfinished') end
local bytes = #ARGV[3] + #ARGV[5] + #ARGV[16] + #ARGV[20]
if bytes_of(client) + bytes > tonumber(ARGV[15]) then return {'heavy'} end
redis.call('HSET', job, 'form', ARGV[17], 'kind', ARGV[18], 'trace', ARGV[19], 'name', ARGV[20], 'client', client, 'command', ARGV[3], 'media', ARGV[4], 'media_key', ARGV[16],
           'webhook', ARGV[5], 'host', ARGV[6], 'status_only', ARGV[7], 'dialect', ARGV[12], 'lane', ARGV[13], 'weight', ARGV[14], 'bytes', bytes,
           'status', 'created', 'attempt', 0, 'fence', 0, 'created', now, 'updated', now)
line_up(id, client)
redis.call('ZADD', UNFINISHED, now, id)
redis.call('SADD', client_key(client), id)
count_bytes(client, 'unfinished', bytes)
redis.call('ZADD', jobs_key(client), now, id)
redis.call('ZREMRANGEBYSCORE', jobs_key(client), '-inf', now - ARGV[11])
for _, key in ipairs({jobs_key(client), bytes_key(client)}) do redis.call('PEXPIRE', key, ARGV[11]) end
if KEYS[1] ~= '' then
  redis.call('HSET', KEYS[1], 'job', id, 'fingerprint', ARGV[8])
  redis.call('PEXPIRE', KEYS[1], ARGV[9])
end
return {'created', now}
