"""What a process needs to find out who sends requests, wired together: the directory, its memory, and what keeps them right."""

from collections.abc import Coroutine
from typing import Any

from prometheus_client import CollectorRegistry

from contracts import metrics
from contracts.clock import utc_now
from proxy.key_changes import ChangeReader, KeySaver, connect
from proxy.key_directory import RedisKeyDirectory
from proxy.key_memory import PREFIX, SUFFIX, KeyMemory, load
from proxy.plain import Plain
from proxy.status import RedisState


class Identities:
    """`directory` is what requests ask."""

    def __init__(self, settings: Plain, number: int, registry: CollectorRegistry) -> None:
        """Learn what was saved here; `number` is the worker's. Raises OSError or DecodeError."""
        self._redis = connect(settings.redis_url)
        memory = KeyMemory()
        self.directory = RedisKeyDirectory(self._redis, memory, settings.pepper, settings.key_grace, utc_now)
        for saved in load(settings.spool, utc_now(), settings.key_grace):
            memory.restore(saved)
            self.directory.as_of = max(self.directory.as_of, saved.as_of)
        self._changes = ChangeReader(self._redis, self.directory, utc_now, metrics.REDIS_UP.gauge(registry))
        path = settings.spool / f"{PREFIX}{settings.file_label}-{number}{SUFFIX}"
        self._saver = KeySaver(path, memory, self.directory)

    def parts(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs in the background, until cancelled."""
        return [self._changes.run(), self._saver.run()]

    @property
    def redis_state(self) -> RedisState:
        """Return how the Redis is that keys are looked up in."""
        if self._changes.whole:
            return "up"
        return "rebuilding" if self.directory.connected else "down"

    async def close(self) -> None:
        """Save what is remembered, for the next start."""
        await self._saver.save()
        await self._redis.aclose()
