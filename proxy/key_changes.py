"""Follows what the billing service announces in Redis, so that a revoked key is refused within a second, and saves to disk.

A blocking read of the stream of changes is push and poll in one: it returns at once when something changed, and its regular
return shows that Redis is there.
"""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import Gauge
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from contracts import projection, redis_keys
from contracts.clock import Clock
from contracts.projection import Marker
from proxy.key_directory import RedisKeyDirectory
from proxy.key_memory import KeyMemory, save

BLOCK_MS: Final = 500
FELL_BEHIND: Final = redis_keys.CHANGES_KEPT // 2
"""So many changes at once may mean that older ones were trimmed away unread."""
SAVE_EVERY: Final = timedelta(seconds=30)
_PAUSE: Final = 0.25
_log = structlog.get_logger(__name__)


def connect(url: str) -> Redis:
    """Return a client that never waits long and never retries by itself: whoever asks has another way to go."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=1.0,
        socket_connect_timeout=1.0,
        socket_timeout=1.0 + BLOCK_MS / 1000,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return Redis.from_pool(pool)


class ChangeReader:
    """Keeps a directory and its memory in step with Redis."""

    def __init__(self, redis: Redis, directory: RedisKeyDirectory, clock: Clock, redis_up: Gauge) -> None:
        self.whole = False
        """Whether Redis holds everything, as far as is known."""
        self._redis, self._directory, self._clock, self._up = redis, directory, clock, redis_up
        self._last: str | bytes | None = None
        self._seen: tuple[str, datetime] | None = None

    async def run(self) -> None:
        """Follow until cancelled; reconnects for ever."""
        while True:
            try:
                await self._follow()
            except (RedisError, OSError, TimeoutError) as error:
                if self._directory.connected:
                    _log.warning("redis away", error=repr(error))
                self._directory.connected = self.whole = False
                self._up.set(0)
            await asyncio.sleep(_PAUSE)

    async def _follow(self) -> None:
        run_id = str((await self._redis.info("server"))["run_id"])
        if self._last is None:
            newest: Any = await self._redis.xrevrange(redis_keys.CHANGES, count=1)
            self._last = newest[0][0] if newest else "0-0"
        while True:
            marker = await self._marker()
            if marker is not None and self._seen != (run_id, marker.rebuilt_at):
                await self._directory.refresh(marker)
                self._seen = (run_id, marker.rebuilt_at)
            if not self._directory.connected:
                _log.info("redis is back")
            self._directory.connected, self.whole = True, marker is not None
            self._up.set(1)
            if self.whole:
                self._directory.in_touch(self._clock())
            await self._read(marker)

    async def _read(self, marker: Marker | None) -> None:
        assert self._last is not None
        reply: Any = await self._redis.xread({redis_keys.CHANGES: self._last}, block=BLOCK_MS)
        for _, changes in reply or []:
            if len(changes) >= FELL_BEHIND:
                self._seen = None  # all is read again
            named = {(fields[b"kind"].decode(), fields[b"id"].decode()) for _, fields in changes}
            remembered = [(kind, name) for kind, name in named if self._directory.change(kind, name)]
            self._last = changes[-1][0]
            if marker is not None:
                await self._directory.read_again(remembered, marker)

    async def _marker(self) -> Marker | None:
        raw = await self._redis.get(redis_keys.MARKER)
        return projection.marker_decoder.decode(raw) if isinstance(raw, bytes) else None


class KeySaver:
    """Saves the memory: soon after a change, and now and again to say that it is still right."""

    def __init__(self, path: Path, memory: KeyMemory, directory: RedisKeyDirectory) -> None:
        self._path, self._memory, self._directory = path, memory, directory
        self._saved_as_of = directory.as_of

    async def run(self) -> None:
        """Save until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            if self._memory.changed or self._directory.as_of - self._saved_as_of >= SAVE_EVERY:
                await self.save()

    async def save(self) -> None:
        """Save now. A full disk is no reason to stop: the file is a cache."""
        saved = self._memory.snapshot(self._directory.as_of)
        self._saved_as_of = saved.as_of
        try:
            await asyncio.to_thread(save, self._path, saved)
        except OSError as error:
            _log.warning("keys not saved", error=str(error))
