"""Writing the copy: records that replace only older ones, and the marker that says the copy is whole."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from billing_api.projection.records import Entry
from contracts import redis_keys
from contracts.projection import Marker, encode, marker_decoder

WITNESS: Final = f"{{{redis_keys.MARKER}}}:rebuild"
"""Written when a rebuild starts and checked when it ends: a Redis that lost its memory in between lost this too."""

_REPLACE: Final = """
local held = redis.call('HGET', KEYS[1], 'revision')
if held and tonumber(held) > tonumber(ARGV[1]) then
    return -1
end
if held and tonumber(held) == tonumber(ARGV[1]) and redis.call('HGET', KEYS[1], 'record') == ARGV[2] then
    return 0
end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'record', ARGV[2])
return 1
"""
_SEAL: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""


class Copy:
    """The projection in one Redis. Methods raise `redis.RedisError` when it is away."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._replace = redis.register_script(_REPLACE)
        self._seal = redis.register_script(_SEAL)

    async def put(self, entries: Sequence[Entry], news_after: int) -> None:
        """Write records and announce them.

        A record that Redis holds already is announced again when its revision is above `news_after`: whoever wrote it may have
        died before it told anybody. One of the same revision that reads differently is replaced: another version of this
        service wrote it.
        """
        async with self.redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                if entry.found_by is not None:
                    await self._replace([entry.found_by], [entry.revision, entry.id], client=pipe)
            for entry in entries:
                await self._replace([entry.redis_key], [entry.revision, entry.record], client=pipe)
            results = (await pipe.execute())[-len(entries) :] if entries else []
        news = [
            entry
            for entry, result in zip(entries, results, strict=True)
            if result == 1 or (result == 0 and entry.revision > news_after)
        ]
        async with self.redis.pipeline(transaction=False) as pipe:
            for entry in news:
                fields: dict[Any, Any] = {"kind": entry.kind, "id": entry.id}
                pipe.xadd(redis_keys.CHANGES, fields, maxlen=redis_keys.CHANGES_KEPT, approximate=True)
            await pipe.execute()

    async def marker(self) -> tuple[Marker, bytes] | None:
        """Return the marker and how it stands there, or None when the copy is not whole, or nobody can read what says so."""
        raw = await self.redis.get(redis_keys.MARKER)
        if raw is None:
            return None
        assert isinstance(raw, bytes)
        try:
            return marker_decoder.decode(raw), raw
        except msgspec.DecodeError:
            return None

    async def begin(self, token: str) -> None:
        """Note that a rebuild starts."""
        await self.redis.set(WITNESS, token)

    async def seal(self, marker: Marker, token: str) -> bool:
        """End a rebuild: mark the copy as whole, unless Redis lost its memory since `begin`."""
        return bool(await self._seal([WITNESS, redis_keys.MARKER], [token, encode(marker)]))

    async def advance(self, marker: Marker, before: bytes) -> bool:
        """Mark the copy as whole up to a later revision, if the marker still stands as it was read."""
        return bool(await self._seal([redis_keys.MARKER, redis_keys.MARKER], [before, encode(marker)]))

    async def run_id(self) -> str:
        """Return what names this run of the Redis server."""
        return str((await self.redis.info("server"))["run_id"])
