"""The limits of one process, and of several, on a real Redis."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from contracts.clock import utc_now
from proxy.limits.limiter import LEASE, RedisLimits, boot_time
from proxy.limits.store import RedisStore
from proxy.ports import Amounts, Denial, Grant
from tests.proxy.limits.people import demand, held, limit, principal


@pytest.fixture
async def redis(server):
    """A store that may be asked: a Redis that has just begun waits for leases of an earlier one to run out."""
    store = RedisStore(server.address)
    async with asyncio.timeout(60):
        while True:
            known = await store.attend("nobody", 0, declared=False, lost=False, lease=round(LEASE * 1e6), known=())
            if known.now >= known.ready:
                break
            await asyncio.sleep(0.1)
    yield store
    await store._redis.flushall()
    await store.close()


async def take(limits, asked, now=None) -> Any:
    now = now or utc_now()
    return limits.take(asked, now) or await limits.wait(asked, now)


async def refused(limits, asked, now=None) -> Any:
    """Return the denial, whose parts a test looks at."""
    answer = await take(limits, asked, now)
    assert isinstance(answer, Denial)
    return answer


async def left(limits, who):
    return [standing.remaining for standing in await limits.standings(who, utc_now())]


async def test_most_requests_need_no_round_trip_and_none_is_above_the_limit(redis):
    limits, who = RedisLimits(redis, "p1"), principal(*held(limit(amount=10_000)))
    asked = [0, 0]
    for _ in range(1000):
        answer = limits.take(demand(who), utc_now())
        asked[answer is None] += 1
        assert isinstance(answer or await limits.wait(demand(who), utc_now()), Grant)
    assert asked[1] < 100
    denied = await refused(limits, demand(who))
    assert (denied.code, denied.held) == ("rate_limit_exceeded", who.limits[0])
    assert 55 < denied.retry_after <= 61


async def test_a_request_that_one_level_refuses_takes_nothing_on_any(redis):
    limits = RedisLimits(redis, "p1")
    wide, narrow = held(limit(amount=1000)), held(limit(amount=10), kind="user", subject="user_1")
    who = principal(*wide, *narrow)
    assert isinstance(await take(limits, demand(who, 10)), Grant)
    denied = await refused(limits, demand(who, 10))
    assert denied.held.kind == "user"
    assert await left(limits, who) == [990, 0]


async def test_a_settled_request_gives_back_what_it_did_not_use_and_only_once(redis):
    limits, who = RedisLimits(redis, "p1"), principal(*held(limit(amount=100), limit("requests", amount=5)))
    grant = await take(limits, demand(who, bound=90))
    assert grant.reserved_tokens == 90
    assert (grant.tightest["tokens"].remaining, grant.tightest["requests"].remaining) == (10, 4)
    for used in (Amounts(30, 0), Amounts(5, 0)):
        limits.settle(grant, used, utc_now())
    limits.release(grant, utc_now())
    assert await left(limits, who) == [70, 4]
    limits.release(await take(limits, demand(who, bound=70)), utc_now())
    assert await left(limits, who) == [70, 4 + 0]


async def test_what_is_settled_after_its_report_is_given_back_too(redis):
    limits, who = RedisLimits(redis, "p1"), principal(*held(limit(amount=100)))
    grant = await take(limits, demand(who, bound=90))
    assert await left(limits, who) == [10]
    limits.settle(grant, Amounts(30, 0), utc_now())
    assert await left(limits, who) == [70]


async def test_what_an_estimate_was_short_of_is_debt(redis):
    limits, who = RedisLimits(redis, "p1"), principal(*held(limit(amount=100, precision="expected")))
    grant = await take(limits, demand(who, tokens=60))
    limits.settle(grant, Amounts(150, 0), utc_now())
    assert await left(limits, who) == [0]
    assert isinstance(await take(limits, demand(who, tokens=1)), Denial)


async def test_an_estimate_above_the_whole_limit_fits_when_nobody_else_is_there(redis):
    limits, who = RedisLimits(redis, "p1"), principal(*held(limit(amount=100, precision="expected")))
    assert isinstance(await take(limits, demand(who, tokens=500)), Grant)


async def test_a_bound_above_the_whole_limit_can_never_fit(redis):
    limits, who = RedisLimits(redis, "p1"), principal(*held(limit(amount=100)))
    denied = limits.take(demand(who, bound=101), utc_now())
    assert isinstance(denied, Denial)
    assert (denied.code, denied.retry_after) == ("invalid_request", None)


async def test_slots_are_given_back_by_whatever_ends_a_request(redis):
    limits, who = RedisLimits(redis, "p1"), principal(*held(limit("concurrency", amount=2)))
    first, second = await take(limits, demand(who)), await take(limits, demand(who))
    denied = await refused(limits, demand(who))
    assert (denied.code, denied.retry_after) == ("concurrency_limit_exceeded", 1.0)
    limits.settle(first, Amounts(1, 1), utc_now())
    limits.release(second, utc_now())
    assert isinstance(await take(limits, demand(who)), Grant)
    assert isinstance(await take(limits, demand(who)), Grant)
    await asyncio.sleep(0.02)
    assert isinstance(await take(limits, demand(who)), Denial)


async def test_idle_slices_go_back_to_the_others(redis):
    limits, other = RedisLimits(redis, "p1"), RedisLimits(redis, "p2")
    who = principal(*held(limit(amount=1000)))
    for _ in range(20):
        await take(limits, demand(who, 1))
    assert sum(await left(other, who)) < 980
    await limits.upkeep.look()
    await limits.upkeep.look()
    await limits.upkeep.look()
    assert await left(other, who) == [980]


async def test_a_process_that_ends_in_order_leaves_all_that_it_did_not_use(redis):
    first, second, who = RedisLimits(redis, "p1"), RedisLimits(redis, "p2"), principal(*held(limit(amount=10_000)))
    for _ in range(200):
        assert isinstance(await take(first, demand(who, 1)), Grant)
    await first.close()
    assert isinstance(await take(second, demand(who, 9_800)), Grant)


async def test_a_day_is_the_tenants_and_its_denial_says_when_it_renews(redis):
    limits = RedisLimits(redis, "p1")
    who = principal(*held(limit(window="day", amount=10)), zone="Pacific/Kiritimati")
    evening = utc_now().replace(hour=9, minute=59, second=30, microsecond=0)
    assert isinstance(await take(limits, demand(who), evening), Grant)
    denied = await take(limits, demand(who), evening)
    assert (denied.code, denied.retry_after) == ("insufficient_quota", 30)
    assert "renews at" in denied.message
    later = evening + timedelta(seconds=30)
    assert isinstance(await take(limits, demand(who), later), Grant)


async def test_a_limit_in_shadow_only_says_what_it_would_have_denied(redis):
    limits, who = (
        RedisLimits(redis, "p1"),
        principal(*held(limit(amount=10, mode="shadow"), limit("requests", amount=9))),
    )
    assert (await take(limits, demand(who))).doubt is None
    grant = await take(limits, demand(who))
    assert grant.doubt.code == "rate_limit_exceeded"
    limits.settle(grant, Amounts(10, 0), utc_now())
    assert await left(limits, who) == [0, 7]


async def test_a_limit_that_only_notifies_counts_on(redis):
    limits, who = RedisLimits(redis, "p1"), principal(*held(limit(window="day", amount=10, when_reached="notify")))
    for _ in range(3):
        grant = await take(limits, demand(who))
        assert isinstance(grant, Grant)
        assert grant.doubt is None


async def test_a_limit_of_another_model_does_not_count(redis):
    limits, who = RedisLimits(redis, "p1"), principal(*held(limit(amount=5, model="other")))
    assert isinstance(await take(limits, demand(who)), Grant)
    assert isinstance(await take(limits, demand(who, model="other")), Denial)


async def test_a_limit_that_became_smaller_holds_at_once(redis):
    limits = RedisLimits(redis, "p1")
    for _ in range(20):
        await take(limits, demand(principal(*held(limit(amount=10_000)))))
    smaller = principal(*held(limit(amount=200)))
    assert isinstance(await take(limits, demand(smaller)), Denial)


async def test_a_slice_is_not_used_after_its_time(redis):
    ahead = 0.0
    limits = RedisLimits(redis, "p1", lambda: boot_time() + ahead, lease=60.0)
    who = principal(*held(limit(amount=1000)))
    for _ in range(20):
        await take(limits, demand(who, 1))
    assert isinstance(limits.take(demand(who, 1), utc_now()), Grant)
    ahead = 60.0 * 0.9
    assert limits.take(demand(who, 1), utc_now()) is None


@asynccontextmanager
async def running(limits):
    task = asyncio.create_task(limits.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_slots_of_a_long_stream_are_kept(redis):
    limits, other = RedisLimits(redis, "p1", lease=1.0), RedisLimits(redis, "p2", lease=1.0)
    who = principal(*held(limit("concurrency", amount=1)))
    async with running(limits):
        await take(limits, demand(who))
        await asyncio.sleep(2.5)
        assert isinstance(await take(other, demand(who)), Denial)
    await asyncio.sleep(1.1)
    assert isinstance(await take(other, demand(who)), Grant)
