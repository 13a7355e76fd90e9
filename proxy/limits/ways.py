"""Which counters a request meets: found once for a principal and a model, and kept until a calendar window ends. Pure."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from contracts import limit_windows as windows
from contracts import redis_keys
from contracts.limits import CALENDAR, Held
from contracts.quota_feedback import ActiveCounter
from proxy.limits import amounts
from proxy.limits.counter import Counter
from proxy.limits.wire import Beyond, Kind
from proxy.ports import Demand, Principal

KEPT: Final = timedelta(days=3)
"""How long a calendar window's counter stays in Redis after its end: requests that began in it may still run."""
Open = Callable[[str, Kind, int, int, int], Counter]
"""Returns the process's counter of a key, made of kind, amount, width and `gone_at` where it is new."""


class Part:
    """One limit on the way: who is held to it, where it is counted, and when its calendar window ends."""

    def __init__(self, held: Held, counter: Counter, ends: datetime | None) -> None:
        limit = held.limit
        self.held: Final = held
        self.counter: Final = counter
        self.ends: Final = ends
        self.meter: Final = amounts.METERS[limit.meter]
        self.strict: Final = limit.precision == "strict"
        self.amount: Final = limit.amount
        self.beyond: Final[Beyond] = "D" if limit.mode == "shadow" else "F" if limit.when_reached == "notify" else "B"
        self.shown: Final = "" if self.beyond != "B" else _shown(self.meter)
        length = windows.LENGTH.get(limit.window or "", 0)
        self.length: Final = timedelta(microseconds=length + length // windows.BUCKETS)

    def need(self, demand: Demand) -> int:
        """Return what the request takes of this limit. An estimate is never more than the whole limit."""
        if self.strict:
            return amounts.of(self.meter, demand.bound)
        estimate = amounts.of(self.meter, demand.estimate)
        return estimate if self.beyond == "F" else max(1, min(estimate, self.amount))


class Way:
    """All limits of a principal that apply to a model."""

    def __init__(self, who: Principal, parts: list[Part], until: datetime | None) -> None:
        self.who: Final = who
        self.tenant: Final = who.key.tenant
        self.parts: Final = parts
        self.until: Final = until
        """When a calendar window ends, and the way is another."""
        tokens = [part for part in parts if part.meter in amounts.TOKENS]
        self.reserves: Final = "none" if not tokens else "bound" if any(part.strict for part in tokens) else "estimate"


def find(who: Principal, model: str | None, now: datetime, open_counter: Open) -> Way:
    """Return the limits that a request of `who` for the model meets at `now`."""
    parts = [part(held, who, now, open_counter) for held in who.limits if amounts.applies(held, model)]
    ends = [each.ends for each in parts if each.ends is not None]
    return Way(who, parts, min(ends, default=None))


def part(held: Held, who: Principal, now: datetime, open_counter: Open) -> Part:
    """Return a limit with its counter."""
    limit, label, gone_at = held.limit, "", 0
    begins, ends = None, None
    kind: Kind = "N" if limit.window is None else "C" if limit.window in CALENDAR else "S"
    if limit.window is not None and kind == "C":
        label, begins, ends = windows.period(limit.window, now, who.time_zone)
        gone_at = int((ends + KEPT).timestamp())
    key = redis_keys.limit_counter(who.key.tenant, held.name, label)
    counter = open_counter(key, kind, limit.amount, windows.width(limit.window), gone_at)
    if limit.window is not None and begins is not None and ends is not None:
        counter.describe(ActiveCounter(
            counter=key, kind=held.kind, subject=held.subject, model=limit.model, meter=limit.meter,
            window=limit.window, start=begins, end=ends, gone_at=gone_at, limit=limit.id, amount=limit.amount,
            notify_at=() if limit.mode == "shadow" else limit.notify_at,
        ))  # fmt: skip
    return Part(held, counter, ends)


def _shown(meter: int) -> str:
    return "requests" if meter == amounts.REQUESTS else "tokens" if meter in amounts.TOKENS else ""
