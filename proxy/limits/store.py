"""The counters in Redis: one script call takes one step on several counters of a tenant.

A step is only ever taken on the server that the current life was agreed on: a connection to another one is refused before
anything is sent through it, since that one's counters may be older than the leases that processes hold.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as AwayError

from contracts import quota_feedback, redis_keys
from contracts.quota_feedback import ActiveCounter
from proxy.limits import wire
from proxy.limits.wire import Ask, Attendance, Reply

PATIENCE: Final = 1.0
"""Seconds that an answer may take before the outage policies hold."""
CONNECTIONS: Final = 16
_FOLDER: Final = Path(__file__).parent


class RedisStore:
    """Implements `wire.Store`."""

    def __init__(self, url: str) -> None:
        self._agreed: str | None = None
        self._redis = _client(url, None)
        self._steps = _client(url, self._greet)
        self._attend: Any = self._redis.register_script((_FOLDER / "attend.lua").read_text())
        self._exchange: Any = self._steps.register_script((_FOLDER / "exchange.lua").read_text())

    async def attend(
        self, process: str, life: int, *, declared: bool, lost: bool, lease: int, known: Sequence[str]
    ) -> Attendance:
        """Say that a process is there."""
        arguments = ["", process, life, int(declared), int(lost), lease, *known]
        async with asyncio.timeout(PATIENCE):
            raw = await self._attend(keys=[redis_keys.LIFE, redis_keys.PROCESSES], args=arguments)
        server = raw[3].decode()
        if server != self._agreed:
            self._agreed = server
            await self._steps.connection_pool.disconnect()
        return Attendance(int(raw[0]), int(raw[1]), int(raw[2]), server, tuple([name.decode() for name in raw[4]]))

    async def exchange(self, process: str, life: int, lease: int, asks: Sequence[Ask]) -> Reply:
        """Book what is reported, then grant all needs, or none."""
        arguments = ["", process, life, lease, *wire.arguments(asks)]
        async with asyncio.timeout(PATIENCE):
            return wire.reply(await self._exchange(keys=[ask.key for ask in asks], args=arguments))

    async def register(self, tenant: str, counters: Sequence[ActiveCounter]) -> None:
        """Let the stream know of calendar counters in use."""
        key, gone_at = redis_keys.active_counters(tenant), max(counter.gone_at for counter in counters)
        described: Any = {counter.counter: quota_feedback.encode(counter) for counter in counters}
        async with asyncio.timeout(PATIENCE):
            await self._steps.hset(key, mapping=described)
            await self._steps.expireat(key, gone_at, gt=True)
            await self._steps.expireat(key, gone_at, nx=True)
            await self._redis.zadd(redis_keys.LIMITED_TENANTS, {tenant: gone_at}, gt=True)

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
        await self._steps.aclose()

    async def _greet(self, connection: AbstractConnection) -> None:
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        about = _fields(await connection.read_response())
        await connection.send_command("INFO", "replication")
        replication = _fields(await connection.read_response())
        if f"{about['run_id']}:{replication['master_replid']}" != self._agreed:
            raise AwayError("this is another Redis, or it started again")


def _client(url: str, greet: Any) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        socket_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **({} if greet is None else {"redis_connect_func": greet}),
    )
    return Redis.from_pool(pool)


def _fields(raw: Any) -> dict[str, str]:
    lines = [line.partition(":") for line in raw.decode().splitlines()]
    return {name: value for name, _, value in lines}
