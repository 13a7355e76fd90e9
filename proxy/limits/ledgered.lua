-- Sets what the ledger holds of a calendar window, and drops the pending entries that are in it.
-- KEYS: the counter. ARGV: generation, amount, moment up to which the ledger is complete (microseconds; 0: not known), Unix second at
-- which the counter can be forgotten, then pairs: process, highest sequence up to which the ledger has all of it.
-- Returns 1, or 0 when a newer generation is known.
local counter, generation, complete = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[3])
local known = tonumber(redis.call('HGET', counter, 'generation')) or -1
if generation < known then return 0 end
local contiguous = {}
for index = 5, #ARGV, 2 do contiguous[ARGV[index]] = tonumber(ARGV[index + 1]) end
local fields = redis.call('HGETALL', counter)
local confirmed, dropped = {}, {pending = 0, lost = 0}
for index = 1, #fields, 2 do
  local field, amount = fields[index], tonumber(fields[index + 1])
  local process, sequence = string.match(field, '^p:(.*):(%d+)$')
  if process and tonumber(sequence) <= (contiguous[process] or 0) then
    confirmed[#confirmed + 1] = field
    dropped.pending = dropped.pending + amount
  elseif string.sub(field, 1, 2) == 'x:' and tonumber(string.sub(field, 3)) <= complete then
    confirmed[#confirmed + 1] = field
    dropped.lost = dropped.lost + amount
  end
end
for _, field in ipairs(confirmed) do redis.call('HDEL', counter, field) end
for name, amount in pairs(dropped) do
  if amount > 0 then redis.call('HINCRBY', counter, name, string.format('%.0f', -amount)) end
end
redis.call('HSET', counter, 'generation', ARGV[1], 'ledgered', ARGV[2])
redis.call('EXPIREAT', counter, ARGV[4])
return 1
