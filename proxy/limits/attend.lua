-- A process says that it is there, and learns which life the counters are in: it ends when Redis lost its memory, came back with an
-- older one, or is another server. The first to notice begins the next; nothing is granted in it before `ready`: when every process
-- that may hold something has declared it, or its leases have run out.
-- KEYS: the record of the life, the processes. ARGV: now (empty: this server's clock), process, its life (0: none), whether it has
-- declared what it holds in it, whether it found that the memory is lost, lease in microseconds, the processes it knows.
-- Returns life, ready, now, server, processes. proxy/limits/model.py does the same in Python.
local me, mine, declared, lost, lease = ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5] == '1', tonumber(ARGV[6])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local function int(number) return string.format('%.0f', number) end
local about = redis.call('INFO', 'server')
local replication = redis.call('INFO', 'replication')
local server = string.match(about, 'run_id:(%w+)') .. ':' .. string.match(replication, 'master_replid:(%w+)')
local up = tonumber(string.match(about, 'uptime_in_seconds:(%d+)')) * 1000000
local record = redis.call('HMGET', KEYS[1], 'server', 'life', 'ready')
local life, ready = tonumber(record[2]), tonumber(record[3])
if not life or record[1] ~= server or mine > life or (lost and mine == life) then
  ready = now + lease
  if not life and mine == 0 then ready = ready - up end  -- whoever held something, held it before this server began
  life = math.max(now, mine + 1, (life or 0) + 1)
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'server', server, 'life', int(life), 'ready', int(ready))
  for _, process in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('HSET', KEYS[1], 'w:' .. process, 1) end
end
if now < ready then
  if mine > 0 and mine < life then
    redis.call('HSET', KEYS[1], 'veteran', 1)
    for index = 7, #ARGV do redis.call('HSETNX', KEYS[1], 'w:' .. ARGV[index], 1) end
  end
  redis.call('HSETNX', KEYS[1], 'w:' .. me, 1)
  if declared and mine == life then redis.call('HSET', KEYS[1], 'w:' .. me, 0) end
  local fields, veteran, waiting = redis.call('HGETALL', KEYS[1]), false, false
  for index = 1, #fields, 2 do
    if fields[index] == 'veteran' then veteran = true end
    if string.sub(fields[index], 1, 2) == 'w:' and fields[index + 1] == '1' then waiting = true end
  end
  -- Who joined just before is not known to the others yet; it comes here within a beat or two.
  if veteran and not waiting and now >= life + lease * 2 / 5 then
    ready = now
    redis.call('HSET', KEYS[1], 'ready', int(ready))
  end
end
redis.call('ZADD', KEYS[2], int(now), me)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', int(now - 2 * lease))
return {int(life), int(ready), int(now), server, redis.call('ZRANGE', KEYS[2], 0, -1)}
