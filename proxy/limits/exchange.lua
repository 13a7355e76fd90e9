-- One step on several counters of a tenant: reports are booked, then all needs are granted, or none.
-- KEYS: the counters. ARGV: now (microseconds; empty: this server's), process, life, lease in microseconds, then for each counter
-- the values of proxy/limits/wire.py's Ask. Returns 0 done, 1 denied, 2 stale; now; and for each counter its State.
-- proxy/limits/model.py does the same in Python, and one suite of tests runs against both. contracts/redis_keys.py has the layout.
local BUCKETS, SHARE = 64, 8
local me, life, ttl = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function int(number) return string.format('%.0f', number) end

local at = 4
local function argument()
  at = at + 1
  return ARGV[at]
end

local function read(key)
  local ask = {key = key, kind = argument()}
  for _, name in ipairs({'amount', 'width', 'gone_at', 'number', 'floor', 'give', 'need', 'want'}) do
    ask[name] = tonumber(argument())
  end
  ask.beyond, ask.declare, ask.reports = argument(), argument() == '1', {}
  for index = 1, tonumber(argument()) do
    ask.reports[index] = {argument(), tonumber(argument()), tonumber(argument())}
  end
  return ask
end

local NAMES = {'life', 'sum', 'low', 'high', 'leased', 'next', 'ledgered', 'pending', 'lost'}

local function load(ask)
  local fields = {unpack(NAMES)}
  fields[#fields + 1] = 'l:' .. me
  fields[#fields + 1] = 'n:' .. me
  fields[#fields + 1] = 'd:' .. me
  local values = redis.call('HMGET', ask.key, unpack(fields))
  for index, name in ipairs(NAMES) do ask[name] = tonumber(values[index]) or false end
  for _, name in ipairs({'sum', 'leased', 'ledgered', 'pending', 'lost'}) do ask[name] = ask[name] or 0 end
  ask.lease, ask.seen, ask.known = tonumber(values[10]) or 0, tonumber(values[11]) or 0, values[11] and true or false
  ask.declared = tonumber(values[12]) or 0
end

-- A counter of an earlier life is taken over as it is. What was declared then says nothing now.
local function adopt(ask)
  if not ask.life or ask.life == life then return end
  local old = {}
  for _, field in ipairs(redis.call('HKEYS', ask.key)) do
    local kind = string.sub(field, 1, 2)
    if kind == 'D:' or kind == 'd:' then old[#old + 1] = field end
  end
  if #old > 0 then redis.call('HDEL', ask.key, unpack(old)) end
  ask.declared = 0
end

-- Adds to a sub-bucket (of a sliding window) or an entry (of a calendar window), which never fall below 0.
local function book(ask, place, amount)
  local field, total = 'b:' .. place, 'sum'
  if ask.kind == 'C' then
    field, total = 'p:' .. place, 'pending'
    if string.sub(place, 1, 2) == 'x:' then field, total = place, 'lost' end
  else
    local bucket = math.min(tonumber(place), ask.bucket)
    if bucket < ask.bucket - BUCKETS then return end
    field = 'b:' .. int(bucket)
    ask.low, ask.high = math.min(ask.low or bucket, bucket), math.max(ask.high or bucket, bucket)
  end
  local before = tonumber(redis.call('HGET', ask.key, field)) or 0
  local after = math.max(0, before + amount)
  redis.call('HSET', ask.key, field, int(after))
  ask[total] = ask[total] + after - before
end

-- What a lease held when it ran out counts as spent then. Slots come back, and what is declared anew in this step.
local function expire(ask)
  if not ask.next or ask.next > now then return end
  local fields, next = redis.call('HGETALL', ask.key), false
  local leases, ends = {}, {}
  for index = 1, #fields, 2 do
    local kind, name = string.sub(fields[index], 1, 2), string.sub(fields[index], 3)
    if kind == 'l:' then leases[name] = tonumber(fields[index + 1]) end
    if kind == 'e:' then ends[name] = tonumber(fields[index + 1]) end
  end
  for name, over in pairs(ends) do
    if over > now then
      next = math.min(next or over, over)
    else
      local lease = leases[name]
      ask.leased = ask.leased - lease
      if ask.declare and name == me then lease = 0 end
      if lease > 0 and ask.kind == 'S' then book(ask, int(math.floor(over / ask.width)), lease) end
      if lease > 0 and ask.kind == 'C' then book(ask, 'x:' .. int(over), lease) end
      redis.call('HDEL', ask.key, 'l:' .. name, 'e:' .. name, 'n:' .. name)
      if name == me then ask.lease, ask.seen, ask.known = 0, 0, false end
    end
  end
  ask.next = next
end

-- Forgets the sub-buckets that no window from now on touches.
local function forget(ask)
  local oldest = ask.bucket - BUCKETS
  if not ask.low or ask.low >= oldest then return end
  local fields = {}
  for bucket = ask.low, math.min(oldest - 1, ask.high) do fields[#fields + 1] = 'b:' .. int(bucket) end
  for _, amount in ipairs(redis.call('HMGET', ask.key, unpack(fields))) do ask.sum = ask.sum - (tonumber(amount) or 0) end
  redis.call('HDEL', ask.key, unpack(fields))
  ask.low = oldest
  if ask.high < oldest then ask.low, ask.high = false, false end
end

local function report(ask)
  if ask.number <= ask.seen then return end
  for _, entry in ipairs(ask.reports) do
    local place, moved, beside = entry[1], entry[2], entry[3]
    if not ask.known then moved = 0 end  -- it was in a lease that ran out, and was booked as spent then
    moved = math.min(moved, ask.lease)
    ask.lease, ask.leased = ask.lease - moved, ask.leased - moved
    if ask.kind == 'C' then place = place == '' and 'x:' .. int(now) or me .. ':' .. place end
    if moved + beside ~= 0 then book(ask, place, moved + beside) end
  end
  local given = math.min(ask.give, ask.lease)
  ask.lease, ask.leased = ask.lease - given, ask.leased - given
end

-- After a loss: what is declared by all together, or what is still there, whichever is more.
local function declare(ask)
  if ask.declared == life then return end
  for _, entry in ipairs(ask.reports) do
    local place, total = entry[1], entry[2] + entry[3]
    if ask.kind == 'C' then
      place = place == '' and 'x:' .. int(now) or me .. ':' .. place
      local field = string.sub(place, 1, 2) == 'x:' and place or 'p:' .. place
      book(ask, place, math.max(0, total - (tonumber(redis.call('HGET', ask.key, field)) or 0)))
    elseif tonumber(place) >= ask.bucket - BUCKETS then
      place = int(math.min(tonumber(place), ask.bucket))
      local all = redis.call('HINCRBY', ask.key, 'D:' .. place, total)
      book(ask, place, math.max(0, all - (tonumber(redis.call('HGET', ask.key, 'b:' .. place)) or 0)))
    end
  end
  redis.call('HSET', ask.key, 'd:' .. me, int(life))
  ask.leased, ask.lease = ask.leased - ask.lease, 0
end

-- When a need fits, in microseconds: as old sub-buckets leave the window, and then what is leased, as if it were spent now.
local function fits_at(ask, room)
  if ask.kind == 'C' then return now end
  if ask.kind == 'N' then return now + 1000000 end
  local fields = {}
  for bucket = ask.low or 0, ask.high or -1 do fields[#fields + 1] = 'b:' .. int(bucket) end
  local amounts = #fields > 0 and redis.call('HMGET', ask.key, unpack(fields)) or {}
  for index = 1, #fields do
    room = room + (tonumber(amounts[index]) or 0)
    if room >= ask.need then return (ask.low + index + BUCKETS) * ask.width end
  end
  return (ask.bucket + 1 + BUCKETS) * ask.width
end

local function room_of(ask)
  return ask.amount - ask.sum - ask.leased - ask.ledgered - ask.pending - ask.lost
end

local function store(ask)
  local over = now + ttl
  ask.next = math.min(ask.next or over, over)
  local values = {'l:' .. me, int(ask.lease), 'e:' .. me, int(over), 'n:' .. me, int(math.max(ask.number, ask.seen)), 'life', int(life)}
  for _, name in ipairs({'sum', 'leased', 'next', 'low', 'high', 'pending', 'lost'}) do
    if ask[name] then
      values[#values + 1] = name
      values[#values + 1] = int(ask[name])
    else
      redis.call('HDEL', ask.key, name)
    end
  end
  redis.call('HSET', ask.key, unpack(values))
  if ask.kind == 'C' then
    redis.call('EXPIREAT', ask.key, int(ask.gone_at))
  else
    redis.call('PEXPIRE', ask.key, int((ttl + ask.width * (BUCKETS + 2)) / 1000 + 1000))
  end
end

local asks, status = {}, 0
for index, key in ipairs(KEYS) do
  asks[index] = read(key)
  load(asks[index])
  if asks[index].life and asks[index].life > life then return {2, now} end
end
for _, ask in ipairs(asks) do
  ask.bucket = ask.width > 0 and math.floor(now / ask.width) or 0
  adopt(ask)
  if ask.kind == 'S' then forget(ask) end
  expire(ask)
  if ask.declare then declare(ask) else report(ask) end
  if ask.lease < ask.floor then
    ask.leased, ask.lease = ask.leased + ask.floor - ask.lease, ask.floor
  end
  ask.room, ask.retry_at = room_of(ask), 0
  if ask.need > ask.room and ask.beyond ~= 'F' then
    ask.retry_at = fits_at(ask, ask.room)
    if ask.beyond == 'B' then status = 1 end
  end
end
local result = {status, now}
for _, ask in ipairs(asks) do
  if status == 0 and ask.retry_at == 0 then
    local granted = math.max(ask.need, math.min(ask.want, math.floor(ask.room / SHARE)))
    ask.lease, ask.leased, ask.room = ask.lease + granted, ask.leased + granted, ask.room - granted
  end
  store(ask)
  local state = {ask.lease, ask.known and 1 or 0, ask.life and 1 or 0, ask.room, ask.retry_at}
  for _, value in ipairs(state) do result[#result + 1] = value end
end
return result
