"""The counters in Redis: one script call takes one step on several counters of a tenant."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from proxy.limits import wire
from proxy.limits.wire import Ask, Reply

_FOLDER: Final = Path(__file__).parent


class RedisStore:
    """Counters as Redis has them. All methods raise RedisError, OSError or TimeoutError when it does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._exchange: Any = redis.register_script((_FOLDER / "exchange.lua").read_text())

    async def exchange(self, process: str, life: int, lease: int, asks: Sequence[Ask], now: int | None = None) -> Reply:
        """Book what is reported, then grant all needs, or none. `lease`: microseconds that leases last.

        `now`: microseconds, None: Redis' own clock.
        """
        arguments = ["" if now is None else now, process, life, lease, *wire.arguments(asks)]
        return wire.reply(await self._exchange(keys=[ask.key for ask in asks], args=arguments))
