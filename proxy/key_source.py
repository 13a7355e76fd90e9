"""Reads the records of keys, tenants, teams, users and plans from Redis into memory."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from contracts import projection, redis_keys
from contracts.projection import Marker
from contracts.redis_keys import SubjectKind
from proxy.identity import INVALID, UNKNOWN_TENANT, UNKNOWN_USER, Identity, Named
from proxy.key_memory import KINDS, KeyMemory
from proxy.ports import Refusal

BATCH: Final = 500


class KeySource:
    """Redis as the billing service projects it. Methods raise RedisError, OSError or DecodeError, and never try twice."""

    def __init__(self, redis: Redis, memory: KeyMemory) -> None:
        self._redis, self._memory = redis, memory

    async def fetch(self, digest: str) -> Identity | Refusal | None:
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
        await self._learn_all([(kind, name) for kind in KINDS if (name := getattr(key, kind)) is not None])
        await self._learn_all([("plan", name) for name in self._memory.plans_of(digest)])
        return self._memory.identity(digest)

    async def fetch_named(self, named: Named) -> Identity | Refusal | None:
        """As `fetch`, for whom a token names: a refusal says whom nobody knows."""
        if await self._redis.get(redis_keys.MARKER) is None:
            return None
        await self._learn_named("tenant", None, (named.tenant,))
        tenant = self._memory.subject("tenant", None, named.tenant)
        if tenant is None:
            return UNKNOWN_TENANT
        await self._learn_named("team", tenant.id, named.teams)
        await self._learn_named("user", tenant.id, (named.user,) if named.user is not None else ())
        if named.user_required and (named.user is None or self._memory.subject("user", tenant.id, named.user) is None):
            return UNKNOWN_USER
        await self._learn_all([("plan", name) for name in self._memory.plans_named(named)])
        return self._memory.named(named)

    async def _learn_named(self, kind: SubjectKind, tenant: str | None, names: tuple[str, ...]) -> None:
        """Read whoever has these ids or external ids."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hget(redis_keys.external_id(kind, tenant, name), "record")
            called = [raw.decode() for raw in await pipe.execute() if raw is not None]
        await self._learn_all([(kind, name) for name in (*names, *called)])

    async def _learn_all(self, wanted: Sequence[tuple[str, str]]) -> None:
        if not wanted:
            return
        async with self._redis.pipeline(transaction=False) as pipe:
            for kind, name in wanted:
                pipe.hget(_redis_key(kind, name), "record")
            for (kind, name), raw in zip(wanted, await pipe.execute(), strict=True):
                if raw is not None:
                    self._learn(kind, name, raw)

    async def read_again(self, names: list[tuple[str, str]], marker: Marker) -> None:
        """Read the records of these kinds and names into memory, so that they are known when Redis is away."""
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            async with self._redis.pipeline(transaction=False) as pipe:
                for kind, name in batch:
                    pipe.hget(_redis_key(kind, name), "record")
                for (kind, name), raw in zip(batch, await pipe.execute(), strict=True):
                    if raw is not None:
                        self._learn(kind, name, raw)
                    elif not self._newer_than(marker, kind, name):
                        self._memory.forget(kind, name)

    def _newer_than(self, marker: Marker, kind: str, name: str) -> bool:
        """Whether memory knows more than this Redis: one that went back in time, to an older copy."""
        held = self._memory.key(name) if kind == "key" else None
        return held is not None and held.revision > marker.revision

    def _learn(self, kind: str, name: str, raw: bytes) -> None:
        if kind == "key":
            self._memory.learn_key(name, projection.key_decoder.decode(raw))
        elif kind == "plan":
            self._memory.learn_plan(projection.plan_decoder.decode(raw))
        else:
            subject: SubjectKind = kind  # type: ignore[assignment]  # `KeyMemory.names` and KINDS give no other
            self._memory.learn_subject(subject, projection.subject_decoder.decode(raw))


def _redis_key(kind: str, name: str) -> str:
    if kind == "key":
        return redis_keys.key_record(name)
    if kind == "plan":
        return redis_keys.plan_record(name)
    subject: SubjectKind = kind  # type: ignore[assignment]
    return redis_keys.subject_record(subject, name)
