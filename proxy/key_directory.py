"""Finds out who a key or token belongs to: from memory, from Redis, or from what is remembered while Redis is away.

Three layers. `_answers` holds what was decided for a token and is emptied by every change that concerns it. `memory` holds
the records themselves, follows Redis' stream of changes (`proxy.key_changes`) and is saved to disk. Redis holds what the
billing service projects; while its marker is missing, or Redis is away, memory answers for `grace`, and what it does not know
is refused with `limits_unavailable`: neither let in nor called invalid. A Redis that was there a moment ago is waited for, up
to `PATIENCE`: on a machine under load, being slow looks like being away.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts.clock import Clock
from contracts.projection import Marker
from proxy.gate import Gate
from proxy.identity import EXPIRED, INVALID, UNAVAILABLE, Identity, judge, refusal_of
from proxy.key_answers import Answer, keep
from proxy.key_memory import KeyMemory
from proxy.key_source import KeySource
from proxy.ports import Principal, Refusal
from proxy.wanted import Reader, Wanted

ANSWERS_KEPT: Final = 20_000
UNKNOWN_KEPT: Final = 2_000
LONGEST: Final = 8192
"""Bytes of a key or token; what is longer is nobody's."""
RECHECK_AFTER: Final = timedelta(seconds=30)
UNKNOWN_FOR: Final = timedelta(seconds=2)
FETCHES: Final = 3
PATIENCE: Final = 5.0
"""Seconds that a request with a key nobody remembers waits for Redis, from when Redis was last there."""
ASK_AGAIN_AFTER: Final = 0.1
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_log = structlog.get_logger(__name__)


class RedisKeyDirectory:
    """Implements `proxy.ports.KeyDirectory`. `connected` is kept by whoever follows Redis' changes."""

    def __init__(
        self, redis: Redis, memory: KeyMemory, reader: Reader, gate: Gate, grace: timedelta, clock: Clock
    ) -> None:
        self.as_of = _LONG_AGO
        """Until when the memory is known to be what Redis holds."""
        self._source = KeySource(redis, memory)
        self._memory, self._grace, self._clock = memory, grace, clock
        self._reader, self._gate = reader, gate
        self._answers: dict[bytes, Answer] = {}
        self._unknown: dict[bytes, tuple[datetime, Refusal]] = {}
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
            unknown = self._unknown.get(token)
            return unknown[1] if unknown is not None and now < unknown[0] else None
        if now >= answer.expires_at:
            return refusal_of(EXPIRED, answer.result if isinstance(answer.result, Principal) else answer.result.who)
        if now >= answer.recheck_at:
            if now - self.as_of > self._grace:
                return None
            if self.connected and token not in self._running:
                self._look_up(token)
        return answer.result

    async def find(self, token: bytes, address: str | None, now: datetime) -> Principal | Refusal:
        """Answer from Redis, or from what is remembered while Redis is away. `address`: the client's, None: not known."""
        if len(token) > LONGEST:
            return INVALID
        if (known := self.cached(token, now)) is not None:
            return known
        if (running := self._running.get(token)) is not None:
            return await asyncio.shield(running)
        if (refused := self._gate.enter(address)) is not None:
            return refused
        found = await asyncio.shield(self._look_up(token))
        self._gate.leave(address, found)
        return found

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
        wanted = await self._reader.read(token, self._clock())
        changes, found = (self._changes, wanted) if isinstance(wanted, Refusal) else await self._ask(wanted)
        now = self._clock()
        if found is None and not isinstance(wanted, Refusal):
            found = self._remembered(wanted, now)
        if found is None or found is UNAVAILABLE:
            return UNAVAILABLE
        if isinstance(found, Refusal):
            self._answers.pop(token, None)
            keep(self._unknown, token, (now + UNKNOWN_FOR, found), UNKNOWN_KEPT)
            return found
        result = judge(found, now)
        answer = Answer(result, found.key.expires_at or _NEVER, now + RECHECK_AFTER, found)
        if isinstance(result, Refusal):
            answer.expires_at = _NEVER
        if changes == self._changes:
            keep(self._answers, token, answer, ANSWERS_KEPT)
        return result

    def _remembered(self, wanted: Wanted, now: datetime) -> Identity | None:
        return wanted.remembered(self._memory) if now - self.as_of <= self._grace else None

    async def _ask(self, wanted: Wanted) -> tuple[int, Identity | Refusal | None]:
        """Ask Redis, again while it is slow and nothing else would answer. Returns as `_fetch_settled`.

        Who is remembered is not kept waiting. When Redis has been away for long, nobody is.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            changes = self._changes
            try:
                if self.connected:
                    return await self._fetch_settled(wanted)
            except (RedisError, OSError, TimeoutError, msgspec.DecodeError) as error:
                _log.debug("key lookup failed", error=repr(error))
            since = began if self._lost_at is None else min(began, self._lost_at)
            if loop.time() - since >= PATIENCE or self._remembered(wanted, self._clock()) is not None:
                return changes, None
            await asyncio.sleep(ASK_AGAIN_AFTER)

    async def _fetch_settled(self, wanted: Wanted) -> tuple[int, Identity | Refusal | None]:
        """Fetch, again if something changed meanwhile: a kept answer must not outlive the change that ends it.

        Returns how many changes were known when it was fetched, too: where more are known later, it is not kept.
        """
        for _ in range(FETCHES):
            changes = self._changes
            found = await wanted.fetch(self._source)
            if changes == self._changes:
                break
        return changes, found
