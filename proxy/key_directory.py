"""Finds out who a token belongs to: from memory, from Redis, or from what is remembered while Redis is away.

Three layers. `_answers` holds what was decided for a token and is emptied by every change that concerns it. `memory` holds
the records themselves, follows Redis' stream of changes (`proxy.key_changes`) and is saved to disk. Redis holds what the
billing service projects; while its marker is missing, or Redis is away, memory answers for `grace`, and what it does not know
is refused with `limits_unavailable`: neither let in nor called invalid.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts import keys, projection, redis_keys
from contracts.clock import Clock
from contracts.projection import Marker
from contracts.redis_keys import SubjectKind
from proxy.identity import EXPIRED, INVALID, UNAVAILABLE, Identity, judge, refusal_of
from proxy.key_memory import KINDS, KeyMemory
from proxy.ports import Principal, Refusal

ANSWERS_KEPT: Final = 20_000
UNKNOWN_KEPT: Final = 10_000
RECHECK_AFTER: Final = timedelta(seconds=30)
UNKNOWN_FOR: Final = timedelta(seconds=2)
FETCHES: Final = 3
REFRESH_BATCH: Final = 500
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
        self.connected = True
        self.as_of = _LONG_AGO
        """Until when the memory is known to be what Redis holds."""
        self._redis, self._memory, self._pepper, self._grace, self._clock = redis, memory, pepper, grace, clock
        self._answers: dict[bytes, _Answer] = {}
        self._unknown: dict[bytes, datetime] = {}
        self._running: dict[bytes, asyncio.Task[Principal | Refusal]] = {}
        self._changes = 0

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
        for start in range(0, len(names), REFRESH_BATCH):
            batch = names[start : start + REFRESH_BATCH]
            async with self._redis.pipeline(transaction=False) as pipe:
                for kind, name in batch:
                    pipe.hget(_redis_key(kind, name), "record")
                for (kind, name), raw in zip(batch, await pipe.execute(), strict=True):
                    if raw is not None:
                        self._learn(kind, name, raw)
                    elif not self._newer_than(marker, kind, name):
                        self._memory.forget(kind, name)

    def _look_up(self, token: bytes) -> asyncio.Task[Principal | Refusal]:
        task = asyncio.get_running_loop().create_task(self._answer(token))
        self._running[token] = task
        task.add_done_callback(lambda _: self._running.pop(token, None))
        return task

    async def _answer(self, token: bytes) -> Principal | Refusal:
        digest = keys.digest(token, self._pepper)
        changes, found = self._changes, None
        try:
            if self.connected:
                changes, found = await self._fetch_settled(digest)
        except (RedisError, OSError, TimeoutError, msgspec.DecodeError) as error:
            _log.debug("key lookup failed", error=repr(error))
        now = self._clock()
        if found is INVALID:
            self._answers.pop(token, None)
            _keep(self._unknown, token, now + UNKNOWN_FOR, UNKNOWN_KEPT)
            return INVALID
        if not isinstance(found, Identity):
            found = self._memory.identity(digest) if now - self.as_of <= self._grace else None
        if found is None:
            return UNAVAILABLE
        result = judge(found, now)
        answer = _Answer(result, found.key.expires_at or _NEVER, now + RECHECK_AFTER, found)
        if isinstance(result, Refusal):
            answer.expires_at = _NEVER
        if changes == self._changes:
            _keep(self._answers, token, answer, ANSWERS_KEPT)
        return result

    async def _fetch_settled(self, digest: str) -> tuple[int, Identity | Refusal | None]:
        """Fetch, again if something changed meanwhile: a kept answer must not outlive the change that ends it.

        Returns how many changes were known when it was fetched, too: where more are known later, it is not kept.
        """
        for _ in range(FETCHES):
            changes = self._changes
            found = await self._fetch(digest)
            if changes == self._changes:
                break
        return changes, found

    async def _fetch(self, digest: str) -> Identity | Refusal | None:
        """Ask Redis. INVALID: there is no such key. None: Redis does not hold everything now."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(redis_keys.MARKER)
            pipe.hget(redis_keys.key_record(digest), "record")
            raw_marker, raw_key = await pipe.execute()
        if raw_key is None:
            if raw_marker is None or self._newer_than(projection.marker_decoder.decode(raw_marker), "key", digest):
                return None
            return INVALID
        key = self._memory.learn_key(digest, projection.key_decoder.decode(raw_key))
        wanted = [(kind, name) for kind in KINDS if (name := getattr(key, kind)) is not None]
        async with self._redis.pipeline(transaction=False) as pipe:
            for kind, name in wanted:
                pipe.hget(redis_keys.subject_record(kind, name), "record")
            for (kind, name), raw in zip(wanted, await pipe.execute(), strict=True):
                if raw is not None:
                    self._learn(kind, name, raw)
        return self._memory.identity(digest)

    def _newer_than(self, marker: Marker, kind: str, name: str) -> bool:
        """Whether memory knows more than this Redis: one that went back in time, to an older copy."""
        held = self._memory.key(name) if kind == "key" else None
        return held is not None and held.revision > marker.revision

    def _learn(self, kind: str, name: str, raw: bytes) -> None:
        if kind == "key":
            self._memory.learn_key(name, projection.key_decoder.decode(raw))
        else:
            subject: SubjectKind = kind  # type: ignore[assignment]  # `KeyMemory.names` and KINDS give no other
            self._memory.learn_subject(subject, projection.subject_decoder.decode(raw))


def _redis_key(kind: str, name: str) -> str:
    if kind == "key":
        return redis_keys.key_record(name)
    subject: SubjectKind = kind  # type: ignore[assignment]
    return redis_keys.subject_record(subject, name)


def _keep(entries: dict[bytes, Any], token: bytes, value: Any, most: int) -> None:
    entries.pop(token, None)
    entries[token] = value
    if len(entries) > most:
        del entries[next(iter(entries))]
