"""The ledger's totals in the limits' counters, with a real Redis and a real engine."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from contracts import redis_keys
from proxy.limits.store import RedisStore
from stream import limit_feedback as module
from stream.clickhouse import ClickHouse
from stream.windows import Window
from tests.proxy.limits.stores import ask
from tests.stream.conftest import RedisServer
from tests.stream.counted import DAY, Counted, text
from tests.stream.factory import NOON, Producer, record

MONTH = (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture(params=[True, False], ids=["text", "bytes"])
async def redis(server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """A client of either kind: what the stream makes of answers must not depend on it."""
    client = Redis.from_url(server.url, decode_responses=request.param)
    yield client
    await client.aclose()


@pytest.fixture
def setup(clickhouse: ClickHouse, redis: Redis) -> Counted:
    return Counted(clickhouse, redis)


async def test_every_counter_gets_its_own_total(setup: Counted) -> None:
    month: dict[str, Any] = {"window": "month", "start": MONTH[0], "end": MONTH[1]}
    expected = {
        await setup.counter("total"): 30,
        await setup.counter("input", meter="input_tokens"): 20,
        await setup.counter("output", meter="output_tokens"): 10,
        await setup.counter("weighted", meter="weighted_tokens"): 40,
        await setup.counter("month", meter="requests", **month): 3,
        await setup.counter("user", kind="user", subject="user_1"): 15,
        await setup.counter("team", kind="team", subject="team_1", model="llama"): 15,
        await setup.counter("key", kind="key", subject="key_1", meter="requests"): 2,
        await setup.counter("model", model="qwen"): 15,
        await setup.counter("other", tenant="ten_b", kind="user", subject="user_1", meter="requests"): 1,
        await setup.counter("yesterday", start=DAY - timedelta(days=1), end=DAY): 15,
        await setup.counter("unused", kind="user", subject="user_9"): 0,
    }
    producer = Producer()
    await setup.driver.store(
        record(
            producer.usage(),
            producer.usage(user="user_2", model="qwen"),
            producer.usage(hop="prefill"),
            producer.usage(at=DAY - timedelta(seconds=1)),
            producer.usage(tenant="ten_b"),
        )
    )
    await setup.feedback.look(setup.driver.touched)
    assert {key: await setup.ledgered(key) for key in expected} == expected
    assert await setup.redis.ttl(next(iter(expected))) > 0


async def test_a_cost_is_left_alone(setup: Counted) -> None:
    key = await setup.counter(meter="cost")
    await setup.driver.store(record(Producer().usage()))
    await setup.feedback.look(setup.driver.touched)
    assert await setup.fields(key) == {}


async def test_what_the_ledger_has_is_pending_no_more(setup: Counted) -> None:
    key, producer = await setup.counter(), Producer(epoch="e1")
    first, second, third = producer.usage(), producer.request(), producer.usage()
    await setup.pending(key, e1__1=15, e1__3=15, e2__1=7)
    await setup.driver.store(record(first, third))
    await setup.feedback.look(setup.driver.touched)
    fields = await setup.fields(key)
    assert (fields["ledgered"], fields["generation"], fields["pending"]) == ("30", "2", "22")
    assert {name for name in fields if name.startswith("p:")} == {"p:e1:3", "p:e2:1"}

    await setup.driver.store(record(second))  # fills the gap; no window of usage has changed
    await setup.feedback.look([])
    fields = await setup.fields(key)
    assert (fields["ledgered"], fields["pending"]) == ("30", "7")


async def test_a_report_later_than_the_batch_is_dropped_too(setup: Counted) -> None:
    key = await setup.counter()
    await setup.driver.store(record(Producer(epoch="e1").usage()))
    await setup.feedback.look(setup.driver.touched)
    await setup.pending(key, e1__1=15)
    setup.now += timedelta(seconds=1)
    await setup.feedback.look([])
    assert (await setup.fields(key))["pending"] == "0"


async def test_nothing_is_dropped_that_the_total_lacks(setup: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger grows between the two questions: what is used may be too much for a moment, never too little."""
    key, producer = await setup.counter(), Producer(epoch="e1")
    await setup.pending(key, e1__1=15, e1__2=15)
    await setup.driver.store(record(producer.usage()))
    late = [record(producer.usage())]

    def grows(name: str) -> None:
        real = getattr(setup.store, name)

        async def asked(*arguments: Any) -> Any:
            answer = await real(*arguments)
            while late:
                await setup.driver.store(late.pop())
            return answer

        monkeypatch.setattr(setup.store, name, asked)

    grows("contiguous")
    grows("counter_totals")
    await setup.feedback.look(list(setup.driver.touched))
    fields = await setup.fields(key)
    assert int(fields["ledgered"]) + int(fields["pending"]) >= 30


async def test_an_older_generation_changes_nothing(setup: Counted) -> None:
    key = await setup.counter()
    await setup.redis.hset(key, mapping={"generation": 50, "ledgered": 999})
    await setup.driver.store(record(Producer().usage()))
    await setup.feedback.look(setup.driver.touched)
    assert await setup.ledgered(key) == 999


async def test_a_counter_that_appears_without_a_batch(setup: Counted) -> None:
    await setup.driver.store(record(Producer().usage()))
    await setup.feedback.look(setup.driver.touched)
    setup.now += timedelta(minutes=1)
    await setup.feedback.look([])
    key = await setup.counter()
    setup.now += module.SWEEP
    await setup.feedback.look([])
    assert await setup.ledgered(key) == 15


async def test_all_are_set_again_in_a_new_life(setup: Counted) -> None:
    key = await setup.counter()
    await setup.driver.store(record(Producer().usage()))
    await setup.redis.hset(redis_keys.LIFE, "life", 1)
    await setup.feedback.look(setup.driver.touched)
    setup.now += timedelta(minutes=1)
    await setup.feedback.look([])

    await setup.redis.hset(key, mapping={"generation": 0, "ledgered": 3})  # an old snapshot came back
    setup.now += timedelta(minutes=1)
    await setup.feedback.look([])
    assert await setup.ledgered(key) == 3  # nobody said that it is another life
    await setup.redis.hset(redis_keys.LIFE, "life", 2)
    await setup.feedback.look([])
    assert await setup.ledgered(key) == 15


async def test_what_is_gone_leaves_the_list(setup: Counted) -> None:
    active = redis_keys.active_counters("ten_a")
    gone = await setup.counter("gone", gone_at=int(NOON.timestamp()))
    kept = await setup.counter("kept")
    await setup.redis.hset(active, "broken", "no JSON")
    await setup.redis.zadd(redis_keys.LIMITED_TENANTS, {"ten_old": NOON.timestamp() - 1})
    await setup.driver.store(record(Producer().usage()))
    await setup.feedback.look(setup.driver.touched)
    assert {text(name) for name in await setup.redis.hkeys(active)} == {kept, "broken"}
    assert await setup.fields(gone) == {}
    assert await setup.redis.zscore(redis_keys.LIMITED_TENANTS, "ten_old") is None


async def test_drift_is_what_counters_were_not_told(setup: Counted) -> None:
    key, producer = await setup.counter(), Producer(epoch="e1")
    await setup.pending(key, e1__1=15)
    await setup.driver.store(record(producer.usage()))
    await setup.feedback.look(setup.driver.touched)
    assert setup.drift() == 0
    await setup.pending(key, e1__2=11)
    await setup.driver.store(record(producer.usage()))
    await setup.feedback.look(setup.driver.touched)
    assert setup.drift() == 4


async def test_a_gap_is_no_drift_once_it_is_filled(setup: Counted) -> None:
    key, producer = await setup.counter(), Producer(epoch="e1")
    await setup.driver.store(record(producer.usage(), producer.usage()))  # before there was a counter
    gap, later = producer.request(), producer.usage()
    await setup.pending(key, e1__4=15)
    await setup.driver.store(record(later))
    await setup.feedback.look(setup.driver.touched)
    await setup.driver.store(record(gap))
    await setup.feedback.look([])
    assert (await setup.fields(key))["pending"] == "0"
    assert setup.drift() == 0


async def test_with_the_proxys_own_counter(setup: Counted, server: RedisServer) -> None:
    store = RedisStore(server.url)
    about = await store.attend("e1", 0, declared=False, lost=False, lease=5_000_000, known=())
    key = await setup.counter()
    await setup.driver.store(record(Producer(epoch="e0").usage()))  # another process, that nobody remembers
    first = ask(key, "C", amount=100, number=1, need=20)
    await store.exchange("e1", about.life, 5_000_000, [first])
    producer = Producer(epoch="e1")
    await setup.driver.store(record(producer.usage()))
    told = ask(key, "C", amount=100, number=2, give=5, reports=(("1", 15, 0),))
    assert (await store.exchange("e1", about.life, 5_000_000, [told])).states[0].room == 85
    await setup.feedback.look(setup.driver.touched)
    again = ask(key, "C", amount=100, number=3)
    assert (await store.exchange("e1", about.life, 5_000_000, [again])).states[0].room == 70
    await store.close()


async def test_redis_away_and_back(setup: Counted, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    monkeypatch.setattr(module, "PAUSE_AFTER_FAILURE", 0.01)
    await setup.driver.store(record(Producer().usage()))
    server.kill()
    loop = asyncio.create_task(setup.feedback.run())
    setup.feedback.touch([Window("ten_a", NOON)])
    while not setup.health.failing:
        await asyncio.sleep(0.01)
    server.start()
    while setup.health.failing:
        await asyncio.sleep(0.01)
    key = await setup.counter()
    setup.now += module.SWEEP
    while not await setup.fields(key):
        await asyncio.sleep(0.01)
    loop.cancel()
    assert await setup.ledgered(key) == 15
