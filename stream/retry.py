"""Doing an effect until it is done: what an agent holds is never given up because a server is away."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import aiohttp
import structlog
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import RedisError

T = TypeVar("T")
log = structlog.get_logger()

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
AWAY: Final = (ClickHouseError, KafkaError, RedisError, aiohttp.ClientError, OSError, TimeoutError)
"""What clients raise when a server is away, starting or overloaded. Anything else is a mistake of ours and ends the process."""


@dataclass
class Health:
    """Which effects are failing right now, and why: what /readyz says."""

    failing: dict[str, str] = field(default_factory=dict)


async def persist(what: str, effect: Callable[[], Awaitable[T]], health: Health) -> T:
    """Return what the effect gives, trying for ever while its server is away.

    The effect runs again from its beginning, so it must be one that may be done twice.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            result = await effect()
        except AWAY as error:
            health.failing[what] = f"{type(error).__name__}: {error}"[:500]
            log.warning("retrying", effect=what, pause=pause, error=health.failing[what])
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        else:
            if health.failing.pop(what, None):
                log.info("recovered", effect=what)
            return result
