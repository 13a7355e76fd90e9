"""What the ledger holds of a tenant's day, as the stream projects it into Redis."""

from datetime import datetime
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts import redis_keys
from contracts.clock import local_day
from proxy.ports import DayTotals, Principal

_FIELDS: Final = ("requests", "input_tokens", "output_tokens")
_log = structlog.get_logger(__name__)


class RedisDayTotals:
    """Implements `proxy.ports.Totals`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def day(self, who: Principal, now: datetime) -> DayTotals | None:
        """Return what is known of the tenant's day so far; None: nothing, or Redis is away."""
        place = redis_keys.day_usage(who.key.tenant, local_day(now, who.time_zone))
        try:
            found = await self._redis.hmget(place, list(_FIELDS))
        except (RedisError, OSError, TimeoutError) as error:
            _log.debug("the day's figures are not known", error=repr(error))
            return None
        counts = [int(each) for each in found if each is not None]
        return DayTotals(*counts) if len(counts) == len(_FIELDS) else None
