"""Quota feedback: what the ledger holds for each tenant's day, written to Redis and published. Best effort.

The ledger never waits for it. Days that changed are remembered and written at most every `PAUSE`; while Redis is away they
stay remembered. A process that dies forgets them, and the next event of the tenant repairs that.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import structlog
from redis.asyncio import Redis

from contracts import projection, redis_keys
from contracts.clock import Clock
from stream import publish, quota
from stream.clickhouse import ClickHouse
from stream.publish import Publisher
from stream.quota import DEFAULT_ZONE, Day, Figures
from stream.retry import AWAY, Health
from stream.windows import Window

log = structlog.get_logger()

PAUSE: Final = 0.5
"""Seconds in which changes gather."""
PAUSE_AFTER_FAILURE: Final = 2.0
ZONE_KEPT: Final = timedelta(seconds=60)

_SET_IF_NEWER: Final = """
local known = tonumber(redis.call('HGET', KEYS[1], 'generation') or '-1')
if tonumber(ARGV[1]) <= known then return 0 end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'requests', ARGV[2], 'input_tokens', ARGV[3], 'output_tokens', ARGV[4])
redis.call('EXPIREAT', KEYS[1], ARGV[5])
return 1
"""


class QuotaFeedback:
    """Remembers touched windows and writes their days' figures."""

    def __init__(self, store: ClickHouse, publisher: Publisher, redis: Redis, health: Health, clock: Clock) -> None:
        self._store = store
        self._publisher = publisher
        self._redis = redis
        self._health = health
        self._clock = clock
        self._zones = Zones(redis, clock)
        self._changed: set[Window] = set()
        self._wake = asyncio.Event()

    def touch(self, windows: Iterable[Window]) -> None:
        """Remember that windows have changed; returns at once."""
        self._changed.update(map(quota.quarter, windows))
        if self._changed:
            self._wake.set()

    async def run(self) -> None:
        """Write figures as they change, for ever."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(PAUSE)
            self._wake.clear()
            taken, self._changed = self._changed, set()
            try:
                await self.write(taken)
            except AWAY as error:
                self._health.failing["quota feedback"] = str(error)[:500]
                log.warning("quota feedback waits", error=str(error)[:200])
                self.touch(taken)
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
            else:
                self._health.failing.pop("quota feedback", None)

    async def write(self, windows: Iterable[Window]) -> None:
        """Write the figures of the days that the windows belong to."""
        now = self._clock()
        windows = [window for window in windows if now < window.minute + quota.KEPT + timedelta(days=2)]
        zones = {tenant: await self._zones.of(tenant) for tenant in {window.tenant for window in windows}}
        figures = await self._store.day_figures(quota.days(windows, zones, now))
        for day, held in figures.items():
            await self._set(day, held)
        await self._publisher.publish(publish.quota(quota.event_data(day, held), now) for day, held in figures.items())

    async def _set(self, day: Day, figures: Figures) -> None:
        expires = int((day.end + quota.KEPT).timestamp())
        key = redis_keys.day_usage(day.tenant, day.date)
        await self._redis.eval(_SET_IF_NEWER, 1, key, *figures, expires)


class Zones:
    """The tenants' time zones, from the records that the billing service projects into Redis."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._known: dict[str, tuple[str, float]] = {}

    async def of(self, tenant: str) -> str:
        """Return a tenant's zone, UTC when it has none or one that this machine does not know."""
        now = self._clock().timestamp()
        zone, until = self._known.get(tenant, ("", 0.0))
        if now < until:
            return zone
        record = await self._redis.hget(redis_keys.subject_record("tenant", tenant), "record")
        zone = _zone(record)
        self._known[tenant] = (zone, now + ZONE_KEPT.total_seconds())
        return zone


def _zone(record: bytes | str | None) -> str:
    if record is None:
        return DEFAULT_ZONE
    try:
        zone = projection.subject_decoder.decode(record).time_zone
        ZoneInfo(zone)
    except (msgspec.MsgspecError, ValueError, KeyError, OSError) as error:
        log.warning("time zone unknown", error=str(error)[:200])
        return DEFAULT_ZONE
    return zone
