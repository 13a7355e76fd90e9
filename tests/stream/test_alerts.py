"""Alerts of limits by what the ledger holds, with a real Redis and a real engine."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError
from redis.asyncio import Redis

from contracts import topics
from stream.clickhouse import ClickHouse
from tests.stream.conftest import RedisServer
from tests.stream.counted import Counted
from tests.stream.factory import Producer, record


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def counted(clickhouse: ClickHouse, server: RedisServer) -> AsyncIterator[Counted]:
    client = Redis.from_url(server.url)
    yield Counted(clickhouse, client)
    await client.aclose()


async def use(counted: Counted, producer: Producer, times: int) -> None:
    counted.driver.touched.clear()
    await counted.driver.store(record(*[producer.usage() for _ in range(times)]))
    await counted.feedback.look(counted.driver.touched)


def raised(counted: Counted) -> list[int]:
    return [data["percent"] for data in counted.driver.published.data(topics.ALERT)]


async def test_each_percentage_once(counted: Counted) -> None:
    await counted.counter(limit="lim_1", amount=10, notify_at=(100, 50, 80), meter="requests")
    producer = Producer()
    seen = []
    for times in (4, 1, 1, 3, 1, 5):
        await use(counted, producer, times)
        seen.append(raised(counted))
    assert seen == [[], [50], [50], [50, 80], [50, 80, 100], [50, 80, 100]]
    assert counted.driver.published.data(topics.ALERT)[1] == {
        "alert": "limit_reached",
        "tenant": "ten_a",
        "limit": "lim_1",
        "subject_kind": "tenant",
        "subject_id": "ten_a",
        "meter": "requests",
        "window": "day",
        "window_start": "2026-11-20T00:00:00Z",
        "window_end": "2026-11-21T00:00:00Z",
        "percent": 80,
        "amount": 10,
        "used": 9,
    }


async def test_a_limit_of_nothing_raises_nothing(counted: Counted) -> None:
    await counted.counter(amount=0, notify_at=(50, 100), meter="requests")
    await use(counted, Producer(), 1)
    assert raised(counted) == []


async def test_an_alert_that_could_not_be_published_comes_later(counted: Counted) -> None:
    await counted.counter(amount=1, notify_at=(100,), meter="requests")
    await counted.driver.store(record(Producer().usage()))
    counted.driver.published.failures = 1
    with pytest.raises(KafkaConnectionError):
        await counted.feedback.look(counted.driver.touched)
    await counted.feedback.look(counted.driver.touched)
    assert raised(counted) == [100]


async def test_raised_again_after_a_loss_it_is_the_same_event(counted: Counted) -> None:
    await counted.counter(amount=1, notify_at=(100,), meter="requests")
    await use(counted, Producer(), 1)
    await counted.redis.flushall()
    await counted.counter(amount=1, notify_at=(100,), meter="requests")
    await use(counted, Producer(epoch="epoch-2"), 1)
    messages = [message.value for message in counted.driver.published.messages if message.topic == topics.ALERT]
    events = [msgspec.json.decode(message) for message in messages]
    assert len(events) == 2
    assert len({(event["source"], event["id"]) for event in events}) == 1
