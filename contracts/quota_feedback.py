"""How the ledger corrects the counters of calendar windows: which there are, and the script that sets what the ledger holds.

A proxy registers every counter of a day or month that it uses (`contracts.redis_keys.active_counters`). The stream computes the
ledger's total of each that it touched, and sets it: `used = ledgered + pending + reserved + leased`. It never adds.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from contracts.limits import Meter, SubjectKind, Window


class ActiveCounter(msgspec.Struct, kw_only=True, frozen=True):
    """A counter of a calendar window that is in use: what it counts, of whom, and in which window `[start, end)`.

    `counter` is its key in Redis. `model` None: all models. Requests count by `admitted_at`. `limit` (its id), `amount` and
    `notify_at` are those of the limit when it was last described: what alerts are raised by.
    """

    counter: str
    kind: SubjectKind
    subject: str
    model: str | None
    meter: Meter
    window: Window
    start: datetime
    end: datetime
    gone_at: int
    """Unix seconds at which it is forgotten; later events of its window change nothing any more."""
    limit: str = ""
    amount: int = 0
    notify_at: tuple[int, ...] = ()


encode = msgspec.json.encode
active_decoder = msgspec.json.Decoder(ActiveCounter)

SET_LEDGERED: Final = """
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
"""
"""Sets what the ledger holds of a counter, and drops the pending entries that are in it; an older generation changes nothing.

Returns 1, or 0 when a newer generation is known. KEYS: the counter. ARGV: `set_ledgered_arguments`.
"""


def set_ledgered_arguments(
    generation: int, amount: int, complete_until: datetime | None, gone_at: int, contiguous: Mapping[str, int]
) -> list[str | int]:
    """Return the arguments of `SET_LEDGERED`.

    `contiguous`: process (epoch) → the sequence up to which the ledger holds all its events; read **before** the amount is
    computed, so that the amount has them. `complete_until`: the moment up to which the ledger has every request that was
    admitted (None: not known): what leases that ran out before held is dropped then, since the amount has what was used of it.
    """
    complete = 0 if complete_until is None else int(complete_until.timestamp() * 1_000_000)
    return [generation, amount, complete, gone_at, *[part for pair in contiguous.items() for part in pair]]
