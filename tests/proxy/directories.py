"""Redis as the billing service fills it, and a directory of keys that reads it as a proxy's does."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from prometheus_client import CollectorRegistry

from contracts import keys, metrics, projection, redis_keys
from contracts.clock import utc_now
from contracts.limits import PlanRecord
from contracts.projection import KeyRecord, Marker, SubjectRecord
from proxy.key_changes import ChangeReader, KeySaver, connect
from proxy.key_directory import RedisKeyDirectory
from proxy.key_memory import KeyMemory, load

PEPPER = b"a pepper of sixteen bytes"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TOKEN = keys.create("key_01jabcdefghjkmnpqrstvwxyz0").encode()
OTHER = keys.create("key_01jabcdefghjkmnpqrstvwxyz1").encode()


class Api:
    """Writes to Redis what the billing service would."""

    def __init__(self, address):
        self.redis = redis.Redis.from_url(address)
        self.revision = 0

    def put(self, kind, name, record):
        self.revision += 1
        places = {"key": redis_keys.key_record, "plan": redis_keys.plan_record}
        place = places[kind](name) if kind in places else redis_keys.subject_record(kind, name)
        self.redis.hset(place, mapping={"revision": self.revision, "record": projection.encode(record)})
        self.redis.xadd(redis_keys.CHANGES, {"kind": kind, "id": name})

    def key(self, token=TOKEN, pepper=PEPPER, **fields):
        defaults: dict[str, Any] = {"id": "key_1", "tenant": "ten_a", "revision": self.revision + 1}
        record = KeyRecord(**(defaults | fields))
        self.put("key", keys.digest(token, pepper), record)

    def subject(self, kind, name, **fields):
        self.put(kind, name, SubjectRecord(id=name, revision=self.revision + 1, **fields))

    def plan(self, name, **fields):
        self.put("plan", name, PlanRecord(id=name, revision=self.revision + 1, **fields))

    def whole(self, rebuilt_at=NOW):
        marker = Marker(revision=self.revision, rebuilt_at=rebuilt_at)
        self.redis.set(redis_keys.MARKER, projection.encode(marker))


@asynccontextmanager
async def directory_at(address, grace=timedelta(hours=1), memory=None, folder=None, follow=True):
    client = connect(address)
    memory = memory or KeyMemory()
    directory: Any = RedisKeyDirectory(client, memory, PEPPER, grace, utc_now)
    if folder is not None:
        for saved in load(folder, utc_now(), grace):
            memory.restore(saved)
            directory.as_of = max(directory.as_of, saved.as_of)
    reader = ChangeReader(client, directory, utc_now, metrics.REDIS_UP.gauge(CollectorRegistry()))
    directory.reader = reader
    directory.saver = KeySaver(folder / "keys-x-1.json", memory, directory) if folder is not None else None
    following = asyncio.create_task(reader.run() if follow else asyncio.sleep(3600))
    try:
        yield directory
    finally:
        if follow:  # redis-py leaves a socket open where connecting is cancelled
            await until(lambda: reader.whole or not directory.connected)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await client.aclose()


async def until(condition, seconds=120.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
