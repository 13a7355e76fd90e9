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
from proxy.gate import Gate
from proxy.key_changes import ChangeReader, KeySaver, connect
from proxy.key_directory import RedisKeyDirectory
from proxy.key_memory import KeyMemory, load
from proxy.last_resort import end
from proxy.wanted import Reader

PEPPER = b"a pepper of sixteen bytes"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TOKEN = keys.create("key_01jabcdefghjkmnpqrstvwxyz0").encode()
OTHER = keys.create("key_01jabcdefghjkmnpqrstvwxyz1").encode()


class Api:
    """Writes to Redis what the billing service would."""

    def __init__(self, address):
        self.address = address
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

    def subject(self, kind, name, tenant=None, external_id=None, **fields):
        if external_id is not None:
            place = redis_keys.external_id(kind, tenant, external_id)
            self.redis.hset(place, mapping={"revision": self.revision + 1, "record": name})
        record = SubjectRecord(id=name, tenant=tenant, external_id=external_id, revision=self.revision + 1, **fields)
        self.put(kind, name, record)

    def plan(self, name, **fields):
        self.put("plan", name, PlanRecord(id=name, revision=self.revision + 1, **fields))

    def whole(self, rebuilt_at=NOW):
        marker = Marker(revision=self.revision, rebuilt_at=rebuilt_at)
        self.redis.set(redis_keys.MARKER, projection.encode(marker))


@asynccontextmanager
async def directory_at(
    address, grace=timedelta(hours=1), memory=None, folder=None, follow=True, guard=None, tokens=None
):
    client = connect(address)
    memory = memory or KeyMemory()
    registry = CollectorRegistry()
    gate = Gate(guard, metrics.IDENTITY_FAILURES.counter(registry))
    directory: Any = RedisKeyDirectory(client, memory, Reader(PEPPER, tokens), gate, grace, utc_now)
    directory.registry = registry
    if folder is not None:
        for saved in load(folder, utc_now(), grace):
            memory.restore(saved)
            directory.as_of = max(directory.as_of, saved.as_of)
    reader = ChangeReader(client, directory, utc_now, metrics.REDIS_UP.gauge(registry))
    directory.reader = reader
    directory.saver = KeySaver(folder / "keys-x-1.json", memory, directory) if folder is not None else None
    following = asyncio.create_task(reader.run() if follow else asyncio.sleep(3600))
    try:
        yield directory
    finally:
        if follow:  # redis-py leaves a socket open where connecting is cancelled
            await until(lambda: reader.whole or not directory.connected)
        await end([following])
        await client.aclose()


async def until(condition, seconds=120.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
