"""Limit feedback: the ledger's totals, set in the limits' counters of days and months. Best effort.

The ledger never waits for it. What a batch touched is looked at soon after, and again for a while: proxies report what was used
about when the ledger hears of it, before or after. All tenants with such counters are looked at when the process starts,
when Redis has lost its memory (its *life* is another), and every now and then, since counters appear without a batch.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from redis.asyncio import Redis

from contracts import quota_feedback, redis_keys
from contracts.clock import Clock
from contracts.quota_feedback import SET_LEDGERED, ActiveCounter
from stream import counters, quota
from stream.alerts import Alerts
from stream.clickhouse import ClickHouse
from stream.counters import Scan, Scanned, State, Totals
from stream.metrics import Metrics
from stream.retry import AWAY, Health
from stream.windows import Window, chunks

log = structlog.get_logger()

PAUSE: Final = 1.0
"""Seconds in which changes gather."""
PAUSE_AFTER_FAILURE: Final = 2.0
LOOKED_AT: Final = timedelta(seconds=5)
"""How long a tenant is looked at again after a batch: a proxy reports at least every second."""
SWEEP: Final = timedelta(seconds=2)
SWEEP_SHARE: Final = 10
"""All tenants are looked at every `SWEEP`, but no more than one part in so many of the time."""
_TENANTS_AT_ONCE: Final = 200


class Found(NamedTuple):
    """A counter in use and what Redis has of it."""

    tenant: str
    counter: ActiveCounter
    state: State


class LimitFeedback:
    """Remembers touched windows and sets the counters that they are in."""

    def __init__(
        self, store: ClickHouse, redis: Redis, health: Health, metrics: Metrics, alerts: Alerts, clock: Clock
    ) -> None:
        self._store = store
        self._redis = redis
        self._health = health
        self._metrics = metrics
        self._alerts = alerts
        self._clock = clock
        self._touched: set[Window] = set()
        self._open: dict[str, datetime] = {}
        """Tenant → until when it is looked at again."""
        self._life: bytes | str | None = None
        self._known = False
        """Whether all counters have been set in this life."""
        self._sweep_at = clock()

    def touch(self, windows: Iterable[Window]) -> None:
        """Remember that windows have changed; returns at once."""
        self._touched.update(map(quota.quarter, windows))

    async def run(self) -> None:
        """Set counters as the ledger grows, for ever."""
        while True:
            await asyncio.sleep(PAUSE)
            taken, self._touched = self._touched, set()
            try:
                await self.look(taken)
            except AWAY as error:
                self._health.failing["limit feedback"] = str(error)[:500]
                log.warning("limit feedback waits", error=str(error)[:200])
                self._touched |= taken
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
            else:
                self._health.failing.pop("limit feedback", None)

    async def look(self, touched: Iterable[Window]) -> None:
        """Set the counters that windows are in, and whatever else is due."""
        now = self._clock()
        moments: dict[str, list[datetime]] = {}
        for window in map(quota.quarter, touched):
            moments.setdefault(window.tenant, []).append(window.minute)
            self._open[window.tenant] = now + LOOKED_AT
        life: Any = await self._redis.hget(redis_keys.LIFE, "life")
        anew = not self._known or life != self._life
        tenants = set(self._open)
        sweep = anew or now >= self._sweep_at
        if sweep:
            tenants |= await self._limited(now)
        for chunk in chunks(sorted(tenants), _TENANTS_AT_ONCE):
            await self._look_at(chunk, moments, anew, now)
        self._open = {tenant: until for tenant, until in self._open.items() if now < until}
        self._life, self._known = life, True
        if sweep:
            done = self._clock()
            self._sweep_at = done + max(SWEEP, (done - now) * SWEEP_SHARE)

    async def _limited(self, now: datetime) -> set[str]:
        """Return the tenants with counters of days and months."""
        await self._redis.zremrangebyscore(redis_keys.LIMITED_TENANTS, "-inf", int(now.timestamp()))
        limited: Any = await self._redis.zrange(redis_keys.LIMITED_TENANTS, 0, -1)
        return set(map(_text, limited))

    async def _look_at(
        self, tenants: Sequence[str], moments: Mapping[str, list[datetime]], anew: bool, now: datetime
    ) -> None:
        found = [each for tenant in tenants for each in await self._counters(tenant, now)]
        epochs = {epoch for each in found for epoch in each.state.pending}
        contiguous = await self._store.contiguous(epochs)  # before the totals, so that these have all of it
        due = [
            each
            for each in found
            if anew
            or each.state.generation is None
            or counters.within(each.counter, moments.get(each.tenant, ()))
            or counters.confirms(contiguous, each.state.pending)
        ]
        by_scan: dict[Scan, list[Found]] = {}
        for each in due:
            by_scan.setdefault(counters.scan_of(each.counter), []).append(each)
        for scan, group in by_scan.items():
            subjects = {(each.tenant, each.counter.subject) for each in group}
            scanned = await self._store.counter_totals(scan, subjects)
            for each in group:
                await self._set(each, scanned, contiguous)

    async def _counters(self, tenant: str, now: datetime) -> list[Found]:
        """Return a tenant's counters that the ledger has totals of; those that are gone are taken from the list."""
        key = redis_keys.active_counters(tenant)
        found: list[Found] = []
        gone: list[Any] = []
        for name, described in (await self._redis.hgetall(key)).items():
            try:
                counter = quota_feedback.active_decoder.decode(described)
            except msgspec.MsgspecError as error:
                log.warning("a counter's description cannot be read", tenant=tenant, error=str(error)[:200])
                continue
            if counter.gone_at <= now.timestamp():
                gone.append(name)
            elif counter.meter in counters.LEDGERED:
                fields = await self._redis.hgetall(counter.counter)
                texts = {_text(name): _text(value) for name, value in fields.items()}
                found.append(Found(tenant, counter, counters.state(texts)))
        if gone:
            await self._redis.hdel(key, *gone)
        return found

    async def _set(self, found: Found, scanned: Scanned, contiguous: Mapping[str, int]) -> None:
        counter, tenant = found.counter, found.tenant
        totals = scanned.totals.get((tenant, counter.subject, counter.model), Totals())
        ledgered = counters.amount(counter.meter, totals)
        known = {epoch: contiguous[epoch] for epoch in found.state.pending if epoch in contiguous}
        generation = scanned.generations.get(tenant, 0)
        arguments = quota_feedback.set_ledgered_arguments(generation, ledgered, None, counter.gone_at, known)
        fields = ("generation", "ledgered", "pending")
        async with self._redis.pipeline(transaction=True) as step:
            step.hmget(counter.counter, fields)
            step.eval(SET_LEDGERED, 1, counter.counter, *arguments)
            step.hget(counter.counter, "pending")
            before, done, after = await step.execute()
        if done:
            names = {name: _text(value) for name, value in zip(fields, before, strict=True) if value is not None}
            drift = counters.correction(counters.state(names), ledgered, int(after or 0))
            self._metrics.drift.labels(counter.meter).inc(drift)
            await self._alerts.look(tenant, counter, ledgered)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
