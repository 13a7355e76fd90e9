"""A ledger and the limits' counters that it corrects, as tests drive them."""

from datetime import datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from contracts import quota_feedback, redis_keys
from contracts.quota_feedback import ActiveCounter
from stream.alerts import Alerts
from stream.clickhouse import ClickHouse
from stream.limit_feedback import LimitFeedback
from stream.metrics import Metrics
from stream.retry import Health
from tests.stream.factory import NOON
from tests.stream.ledgers import Driver

DAY = NOON.replace(hour=0)


class Counted:
    """The feedback of a ledger, with counters as proxies register them."""

    def __init__(self, store: ClickHouse, redis: Redis) -> None:
        self.now = NOON
        self.store, self.redis = store, redis
        self.metrics, self.health, self.driver = Metrics(), Health(), Driver(store)
        self.alerts = Alerts(self.driver.published, redis, self.clock)
        self.feedback = LimitFeedback(store, redis, self.health, self.metrics, self.alerts, self.clock)

    def clock(self) -> datetime:
        return self.now

    async def counter(
        self, name: str = "c", tenant: str = "ten_a", kind: Any = "tenant", subject: str = "ten_a", **fields: Any
    ) -> str:
        """Register a counter as a proxy does: a tenant's total tokens of the day unless given."""
        key = redis_keys.limit_counter(tenant, name)
        values: dict[str, Any] = {
            "model": None,
            "meter": "total_tokens",
            "window": "day",
            "start": DAY,
            "end": DAY + timedelta(days=1),
        }
        values |= {"gone_at": int((NOON + timedelta(days=4)).timestamp())} | fields
        made = ActiveCounter(counter=key, kind=kind, subject=subject, **values)
        await self.redis.hset(redis_keys.active_counters(tenant), key, quota_feedback.encode(made))
        await self.redis.zadd(redis_keys.LIMITED_TENANTS, {tenant: made.gone_at})
        return key

    async def pending(self, key: str, **sequences: int) -> None:
        """Tell the counter of amounts under `epoch__sequence`."""
        for name, amount in sequences.items():
            epoch, sequence = name.split("__")
            await self.redis.hset(key, f"p:{epoch}:{sequence}", str(amount))
            await self.redis.hincrby(key, "pending", amount)

    async def fields(self, key: str) -> dict[str, str]:
        found: dict[Any, Any] = await self.redis.hgetall(key)
        return {text(name): text(value) for name, value in found.items()}

    async def ledgered(self, key: str) -> int:
        return int((await self.fields(key))["ledgered"])

    def drift(self, meter: str = "total_tokens") -> float:
        return self.metrics.registry.get_sample_value("weighbridge_limit_drift", {"meter": meter}) or 0.0


def text(value: bytes | str) -> str:
    """Return what a client of either kind answered."""
    return value.decode() if isinstance(value, bytes) else value
