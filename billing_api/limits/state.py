"""How a limit stands, read from its counter in Redis (`contracts.redis_keys` has the layout). Pure but for `read`."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from billing_api.errors import Problem
from billing_api.limits.models import Limit
from billing_api.wire import Amount, Moment, View
from contracts import limit_windows, redis_keys
from contracts.limits import MICRO, Held, LimitRecord, Meter, SubjectKind, Window

PATIENCE: Final = 1.0
"""Seconds that an answer of Redis is waited for."""
_MICROSECONDS: Final = 1_000_000


class LimitState(View):
    """Amounts are in the limit's unit. `used` is spent in the window, `reserved` held by proxies for requests.

    `resets_at`: when all is there again if nothing more is used; null for concurrency, or when nothing is used.
    """

    id: str
    amount: Amount
    used: Amount
    reserved: Amount
    remaining: Amount
    resets_at: Moment | None
    as_of: Moment


async def read(redis: Redis, row: Limit, time_zone: str, now: datetime) -> LimitState:
    """Return the state of a subject's limit; raises a 503 problem when Redis does not answer."""
    assert row.tenant is not None, "limits of plans are not counted"
    record = LimitRecord(id=row.id, model=row.model, meter=cast(Meter, row.meter), window=_window(row), amount=0)
    name = Held(cast(SubjectKind, row.kind), row.holder, record).name
    period = limit_windows.period(record.window, now, time_zone) if record.window in ("day", "month") else None
    place = redis_keys.limit_counter(row.tenant, name, period.label if period is not None else "")
    try:
        async with asyncio.timeout(PATIENCE):
            raw = await redis.hgetall(place)
    except (RedisError, OSError, TimeoutError) as error:
        raise Problem(
            503, "limits_unavailable", "Redis, where limits are counted, does not answer; try again"
        ) from error
    fields = {_text(name): _text(content) for name, content in raw.items()}
    return state(row, fields, period.end if period is not None else None, now)


def state(row: Limit, fields: Mapping[str, str], ends: datetime | None, now: datetime) -> LimitState:
    """Return what the fields of a counter say at `now`; `ends`: the end of its calendar window, None of those that slide."""
    reserved = int(fields.get("leased", "0"))
    resets_at = ends
    if ends is not None:
        used = sum(int(fields.get(name, "0")) for name in ("ledgered", "pending", "lost"))
    else:
        used, resets_at = _sliding(fields, limit_windows.width(_window(row)), now)
    unit = Decimal(MICRO) if row.meter == "cost" else Decimal(1)
    taken = Decimal(used) / unit, Decimal(reserved) / unit
    return LimitState(
        id=row.id,
        amount=row.amount,
        used=taken[0],
        reserved=taken[1],
        remaining=max(Decimal(0), row.amount - sum(taken)),
        resets_at=resets_at,
        as_of=now,
    )


def _sliding(fields: Mapping[str, str], width: int, now: datetime) -> tuple[int, datetime | None]:
    """Return what is spent in the window that ends at `now`, and when the last of it has left; width 0: slots, never spent."""
    if not width:
        return 0, None
    oldest = int(now.timestamp() * _MICROSECONDS) // width - limit_windows.BUCKETS
    spent = {int(name[2:]): int(amount) for name, amount in fields.items() if name.startswith("b:")}
    inside = {bucket: amount for bucket, amount in spent.items() if bucket >= oldest and amount}
    if not inside:
        return 0, None
    gone = (max(inside) + limit_windows.BUCKETS + 1) * width
    return sum(inside.values()), datetime.fromtimestamp(gone / _MICROSECONDS, UTC)


def _window(row: Limit) -> Window | None:
    return cast(Window | None, row.window)


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw
