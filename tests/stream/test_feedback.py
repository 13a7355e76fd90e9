"""Quota feedback against a real Redis and a real engine."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from contracts import projection, redis_keys, topics
from contracts.projection import SubjectRecord
from stream import feedback as module
from stream.clickhouse import ClickHouse
from stream.feedback import QuotaFeedback
from stream.retry import Health
from stream.windows import Window
from tests.stream.conftest import RedisServer
from tests.stream.factory import NOON, Producer, record
from tests.stream.ledgers import Driver, Remembered


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(server.url, decode_responses=True)
    yield client
    await client.aclose()


class Setup:
    def __init__(self, store: ClickHouse, redis: Redis) -> None:
        self.now = NOON
        self.published, self.health = Remembered(), Health()
        self.feedback = QuotaFeedback(store, self.published, redis, self.health, self.clock)
        self.driver = Driver(store)
        self.redis = redis

    def clock(self) -> datetime:
        return self.now

    async def used(self, tenant: str, day: date) -> dict[str, int]:
        found = await self.redis.hgetall(redis_keys.day_usage(tenant, day))
        return {str(name): int(value) for name, value in found.items()}


@pytest.fixture
def setup(clickhouse: ClickHouse, redis: Redis) -> Setup:
    return Setup(clickhouse, redis)


async def test_writes_the_days_figures(setup: Setup) -> None:
    producer = Producer()
    await setup.driver.store(
        record(producer.usage(), producer.usage(output_tokens=None, at=NOON - timedelta(hours=3))),
        record(producer.usage(tenant="ten_b", at=NOON - timedelta(days=1))),
    )
    await setup.feedback.write(setup.driver.touched)
    figures = {"generation": 2, "requests": 2, "input_tokens": 20, "output_tokens": 5}
    assert await setup.used("ten_a", NOON.date()) == figures
    assert await setup.used("ten_b", NOON.date()) == {}
    assert (await setup.used("ten_b", NOON.date() - timedelta(days=1)))["requests"] == 1
    told = {data["tenant"]: data for data in setup.published.data(topics.QUOTA)}
    assert told["ten_a"] == {
        "tenant": "ten_a",
        "window": "day",
        "window_start": "2026-11-20T00:00:00Z",
        **figures,
    }
    assert await setup.redis.ttl(redis_keys.day_usage("ten_a", NOON.date())) > 0


async def test_days_are_the_tenants_own(setup: Setup) -> None:
    subject = SubjectRecord(id="ten_a", time_zone="Pacific/Auckland", revision=1)
    key = redis_keys.subject_record("tenant", "ten_a")
    await setup.redis.hset(key, mapping={"revision": 1, "record": projection.encode(subject)})
    await setup.redis.hset(redis_keys.subject_record("tenant", "ten_b"), "record", "no JSON")
    producer = Producer()
    await setup.driver.store(record(producer.usage(), producer.usage(tenant="ten_b")))
    await setup.feedback.write(setup.driver.touched)
    assert (await setup.used("ten_a", NOON.date() + timedelta(days=1)))["requests"] == 1
    assert (await setup.used("ten_b", NOON.date()))["requests"] == 1


async def test_an_older_generation_changes_nothing(setup: Setup) -> None:
    key = redis_keys.day_usage("ten_a", NOON.date())
    await setup.redis.hset(key, mapping={"generation": 50, "requests": 50})
    await setup.driver.store(record(Producer().usage()))
    await setup.feedback.write(setup.driver.touched)
    assert await setup.used("ten_a", NOON.date()) == {"generation": 50, "requests": 50}


async def test_old_days_are_left_alone(setup: Setup) -> None:
    await setup.driver.store(record(Producer().usage(at=NOON - timedelta(days=20))))
    await setup.feedback.write(setup.driver.touched)
    assert await setup.redis.keys("wb:*") == []
    assert setup.published.messages == []


async def test_redis_away_and_back(setup: Setup, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    monkeypatch.setattr(module, "PAUSE_AFTER_FAILURE", 0.01)
    await setup.driver.store(record(Producer().usage()))
    server.kill()
    loop = asyncio.create_task(setup.feedback.run())
    setup.feedback.touch([Window("ten_a", NOON)])
    while not setup.health.failing:
        await asyncio.sleep(0.01)
    server.start()
    while setup.health.failing or not await setup.used("ten_a", NOON.date()):
        await asyncio.sleep(0.01)
    loop.cancel()
    assert (await setup.used("ten_a", NOON.date()))["requests"] == 1
