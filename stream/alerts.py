"""Alerts: a counter of a day or month has reached a percentage of its limit, by what the ledger holds. Once each a period.

What was raised is noted in the counter itself. It is noted after it was published, so that none is lost; one that is published
twice, since a process died or Redis lost its memory in between, has the same id.
"""

from collections.abc import Iterator
from typing import Final

from redis.asyncio import Redis

from contracts.clock import Clock
from contracts.events import AlertData
from contracts.quota_feedback import ActiveCounter
from stream import publish
from stream.publish import Publisher
from stream.rows import hash64

_RAISED: Final = "a:"


class Alerts:
    """Raises what is due."""

    def __init__(self, publisher: Publisher, redis: Redis, clock: Clock) -> None:
        self._publisher = publisher
        self._redis = redis
        self._clock = clock

    async def look(self, tenant: str, counter: ActiveCounter, used: int) -> None:
        """Raise what `used` has reached and was not raised before."""
        for percent in reached(counter, used):
            field = f"{_RAISED}{percent}"
            if not await self._redis.hexists(counter.counter, field):
                data = event_data(tenant, counter, percent, used)
                await self._publisher.publish([publish.alert(data, _event_id(counter, percent), self._clock())])
                await self._redis.hset(counter.counter, field, used)


def reached(counter: ActiveCounter, used: int) -> Iterator[int]:
    """Yield the percentages that have been reached, from the lowest. Of a limit of 0 there are none."""
    for percent in sorted(counter.notify_at):
        if counter.amount and used * 100 >= counter.amount * percent:
            yield percent


def _event_id(counter: ActiveCounter, percent: int) -> str:
    """Return the id that the alert has whenever it is published."""
    return f"alert/{hash64(counter.counter.encode()):016x}/{percent}"


def event_data(tenant: str, counter: ActiveCounter, percent: int, used: int) -> AlertData:
    """Return the data of an alert."""
    return AlertData(
        alert="limit_reached",
        tenant=tenant,
        limit=counter.limit,
        subject_kind=counter.kind,
        subject_id=counter.subject,
        model=counter.model,
        meter=counter.meter,
        window=counter.window,
        window_start=counter.start,
        window_end=counter.end,
        percent=percent,
        amount=counter.amount,
        used=used,
    )
