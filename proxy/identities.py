"""What a process needs to find out who sends requests, wired together: the directory, its memory, and what keeps them right."""

from collections.abc import Coroutine
from typing import Any

from prometheus_client import CollectorRegistry

from contracts import metrics
from contracts.clock import utc_now
from proxy.gate import Gate
from proxy.guard import Guard
from proxy.key_changes import ChangeReader, KeySaver, connect
from proxy.key_directory import RedisKeyDirectory
from proxy.key_memory import PREFIX, SUFFIX, KeyMemory, load
from proxy.oidc.fetch import fetcher
from proxy.oidc.keyring import Keyring
from proxy.oidc.tokens import Tokens
from proxy.plain import Plain
from proxy.status import RedisState
from proxy.wanted import Reader


class Identities:
    """`directory` is what requests ask, `redis` where it looks."""

    def __init__(self, settings: Plain, number: int, registry: CollectorRegistry) -> None:
        """Learn what was saved here; `number` is the worker's. Raises OSError or DecodeError."""
        self.redis = connect(settings.redis_url)
        memory = KeyMemory()
        rules = settings.oidc_rules()
        self._keyring = Keyring(rules.issuer, fetcher(settings.oidc_ca)) if rules is not None else None
        tokens = Tokens(rules, self._keyring) if rules is not None and self._keyring is not None else None
        guard = Guard() if settings.enforce == "on" else None  # else many keys are nobody's, and pass all the same
        gate = Gate(guard, metrics.IDENTITY_FAILURES.counter(registry))
        reader = Reader(settings.pepper, tokens)
        self.directory = RedisKeyDirectory(self.redis, memory, reader, gate, settings.key_grace, utc_now)
        for saved in load(settings.spool, utc_now(), settings.key_grace):
            memory.restore(saved)
            self.directory.as_of = max(self.directory.as_of, saved.as_of)
        self._changes = ChangeReader(self.redis, self.directory, utc_now, metrics.REDIS_UP.gauge(registry))
        path = settings.spool / f"{PREFIX}{settings.file_label}-{number}{SUFFIX}"
        self._saver = KeySaver(path, memory, self.directory)

    def parts(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs in the background, until cancelled."""
        keys = [self._keyring.run()] if self._keyring is not None else []
        return [self._changes.run(), self._saver.run(), *keys]

    @property
    def redis_state(self) -> RedisState:
        """Return how the Redis is that keys are looked up in."""
        if self._changes.whole:
            return "up"
        return "rebuilding" if self.directory.connected else "down"

    async def close(self) -> None:
        """Save what is remembered, for the next start."""
        await self._saver.save()
        await self.redis.aclose()
