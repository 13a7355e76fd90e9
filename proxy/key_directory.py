"""Finds out who a token belongs to: from memory, from Redis, or from what is remembered while Redis is away.

Three layers. `_answers` holds what was decided for a token and is emptied by every change that concerns it. `memory` holds
the records themselves, follows Redis' stream of changes (`proxy.key_changes`) and is saved to disk. Redis holds what the
billing service projects; while its marker is missing, or Redis is away, memory answers for `grace`, and what it does not know
is refused with `limits_unavailable`: neither let in nor called invalid. A Redis that was there a moment ago is waited for, up
to `PATIENCE`: on a machine under load, being slow looks like being away.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts import keys
from contracts.clock import Clock
from contracts.projection import Marker
from proxy.identity import EXPIRED, INVALID, UNAVAILABLE, Identity, judge, refusal_of
from proxy.key_memory import KeyMemory
from proxy.key_source import KeySource
from proxy.ports import Principal, Refusal

ANSWERS_KEPT: Final = 20_000
UNKNOWN_KEPT: Final = 10_000
RECHECK_AFTER: Final = timedelta(seconds=30)
UNKNOWN_FOR: Final = timedelta(seconds=2)
FETCHES: Final = 3
PATIENCE: Final = 5.0
"""Seconds that a request with a key nobody remembers waits for Redis, from when Redis was last there."""
ASK_AGAIN_AFTER: Final = 0.1
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_log = structlog.get_logger(__name__)


class _Answer:
    __slots__ = ("expires_at", "identity", "recheck_at", "result")

    def __init__(
        self, result: Principal | Refusal, expires_at: datetime, recheck_at: datetime, identity: Identity
    ) -> None:
        self.result = result
        self.expires_at = expires_at
        self.recheck_at = recheck_at
        self.identity = identity


class RedisKeyDirectory:
    """Implements `proxy.ports.KeyDirectory`. `connected` is kept by whoever follows Redis' changes."""

    def __init__(self, redis: Redis, memory: KeyMemory, pepper: bytes, grace: timedelta, clock: Clock) -> None:
        self.as_of = _LONG_AGO
        """Until when the memory is known to be what Redis holds."""
        self._source = KeySource(redis, memory)
        self._memory, self._pepper, self._grace, self._clock = memory, pepper, grace, clock
        self._answers: dict[bytes, _Answer] = {}
        self._unknown: dict[bytes, datetime] = {}
        self._running: dict[bytes, asyncio.Task[Principal | Refusal]] = {}
        self._changes = 0
        self._lost_at: float | None = None

    @property
    def connected(self) -> bool:
        """Whether Redis answers, as far as whoever follows its changes knows."""
        return self._lost_at is None

    @connected.setter
    def connected(self, there: bool) -> None:
        if there:
            self._lost_at = None
        elif self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()

    def cached(self, token: bytes, now: datetime) -> Principal | Refusal | None:
        """Answer from memory; None: not known here, ask `find`."""
        answer = self._answers.get(token)
        if answer is None:
            return INVALID if token in self._unknown and now < self._unknown[token] else None
        if now >= answer.expires_at:
            return refusal_of(EXPIRED, answer.result if isinstance(answer.result, Principal) else answer.result.who)
        if now >= answer.recheck_at:
            if now - self.as_of > self._grace:
                return None
            if self.connected and token not in self._running:
                self._look_up(token)
        return answer.result

    async def find(self, token: bytes, now: datetime) -> Principal | Refusal:
        """Answer from Redis, or from what is remembered while Redis is away."""
        text = token.decode("latin-1")
        if text.startswith(keys.PREFIX) and keys.parse(text) is None:
            return INVALID
        if (known := self.cached(token, now)) is not None:
            return known
        return await asyncio.shield(self._running.get(token) or self._look_up(token))

    def in_touch(self, now: datetime) -> None:
        """Note that the memory is what Redis holds at `now`."""
        self.as_of = now

    def change(self, kind: str, name: str) -> bool:
        """Drop what depends on a record that changed; return whether it was remembered, so that it should be read again."""
        self._changes += 1
        remembered = self._memory.forget(kind, name)
        self._unknown.clear()
        outdated = [token for token, answer in self._answers.items() if answer.identity.concerns(name)]
        for token in outdated:
            del self._answers[token]
        return remembered

    def forget_answers(self) -> None:
        """Ask anew for every token; the memory stays, for the case that Redis cannot answer."""
        self._changes += 1
        self._answers.clear()
        self._unknown.clear()

    async def refresh(self, marker: Marker) -> None:
        """Read again every record that is remembered, after changes may have been missed. Raises RedisError."""
        self.forget_answers()
        await self.read_again(list(self._memory.names()), marker)

    async def read_again(self, names: list[tuple[str, str]], marker: Marker) -> None:
        """Read the records of these kinds and names into memory, so that they are known when Redis is away."""
        await self._source.read_again(names, marker)

    def _look_up(self, token: bytes) -> asyncio.Task[Principal | Refusal]:
        task = asyncio.get_running_loop().create_task(self._answer(token))
        self._running[token] = task
        task.add_done_callback(lambda _: self._running.pop(token, None))
        return task

    async def _answer(self, token: bytes) -> Principal | Refusal:
        digest = keys.digest(token, self._pepper)
        changes, found = await self._ask(digest)
        now = self._clock()
        if found is INVALID:
            self._answers.pop(token, None)
            _keep(self._unknown, token, now + UNKNOWN_FOR, UNKNOWN_KEPT)
            return INVALID
        if not isinstance(found, Identity):
            found = self._remembered(digest, now)
        if found is None:
            return UNAVAILABLE
        result = judge(found, now)
        answer = _Answer(result, found.key.expires_at or _NEVER, now + RECHECK_AFTER, found)
        if isinstance(result, Refusal):
            answer.expires_at = _NEVER
        if changes == self._changes:
            _keep(self._answers, token, answer, ANSWERS_KEPT)
        return result

    def _remembered(self, digest: str, now: datetime) -> Identity | None:
        return self._memory.identity(digest) if now - self.as_of <= self._grace else None

    async def _ask(self, digest: str) -> tuple[int, Identity | Refusal | None]:
        """Ask Redis, again while it is slow and nothing else would answer. Returns as `_fetch_settled`.

        Who is remembered is not kept waiting. When Redis has been away for long, nobody is.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            changes = self._changes
            try:
                if self.connected:
                    return await self._fetch_settled(digest)
            except (RedisError, OSError, TimeoutError, msgspec.DecodeError) as error:
                _log.debug("key lookup failed", error=repr(error))
            since = began if self._lost_at is None else min(began, self._lost_at)
            if loop.time() - since >= PATIENCE or self._remembered(digest, self._clock()) is not None:
                return changes, None
            await asyncio.sleep(ASK_AGAIN_AFTER)

    async def _fetch_settled(self, digest: str) -> tuple[int, Identity | Refusal | None]:
        """Fetch, again if something changed meanwhile: a kept answer must not outlive the change that ends it.

        Returns how many changes were known when it was fetched, too: where more are known later, it is not kept.
        """
        for _ in range(FETCHES):
            changes = self._changes
            found = await self._source.fetch(digest)
            if changes == self._changes:
                break
        return changes, found


def _keep(entries: dict[bytes, Any], token: bytes, value: Any, most: int) -> None:
    entries.pop(token, None)
    entries[token] = value
    if len(entries) > most:
        del entries[next(iter(entries))]
