"""What limits say while Redis is away, and how they find out again how they stand; on the model, then on a real Redis."""

import asyncio

import pytest
from redis.exceptions import RedisError

from contracts.clock import utc_now
from proxy.limits.limiter import RedisLimits
from proxy.limits.outage import Share
from proxy.limits.store import RedisStore
from proxy.ports import Denial, Grant
from tests.proxy import parts
from tests.proxy.limits.people import demand, held, limit, principal
from tests.proxy.limits.stores import ask
from tests.proxy.limits.world import World, at_once


def world_of(processes, *whos):
    """Return processes that all know each other."""
    world = World()
    for _ in range(processes):
        world.process()
    world.pass_time(3)
    return world


def cut(world, away=True):
    for process in world.processes:
        process.client.cut = away


def count(world, who, times=200):
    """Return how many of so many requests each process lets in."""
    return [sum(world.request(process, who, 1) is not None for _ in range(times)) for process in world.processes]


def test_deny_lets_nobody_in_and_allow_everybody():
    world = world_of(2)
    cut(world)
    assert count(world, principal(*held(limit(amount=50, on_outage="deny")))) == [0, 0]
    assert count(world, principal(*held(limit(amount=50, on_outage="allow")))) == [200, 200]


def test_a_denial_of_an_outage_says_so():
    world, who = world_of(1), principal(*held(limit(amount=50)))
    cut(world)
    asked, process = demand(who), world.processes[0]
    assert process.limits.take(asked, world.clock(process)) is None
    with pytest.raises(AssertionError):
        assert world.request(process, who)
    assert process.limits.life.state == "down"


@pytest.mark.parametrize("meter", ["total_tokens", "concurrency"])
def test_shares_add_up_to_the_limit(meter):
    world, who = world_of(3), principal(*held(limit(meter, amount=50, on_outage="share")))
    cut(world)
    assert count(world, who) == [17, 17, 16]


def test_a_day_is_shared_too():
    world, who = world_of(3), principal(*held(limit(window="day", amount=50, on_outage="share")))
    cut(world)
    assert sum(count(world, who)) == 50


def test_a_share_is_of_what_was_left_when_redis_was_last_heard():
    world, who = world_of(2), principal(*held(limit(amount=50, on_outage="share")))
    first, second = world.processes
    for _ in range(40):
        assert world.request(first, who)
    assert world.request(second, who)
    world.pass_time(2)
    cut(world)
    assert sum(count(world, who)) <= 9


def test_shares_come_back_as_the_window_moves_on():
    world, who = world_of(2), principal(*held(limit(amount=50, on_outage="share")))
    cut(world)
    assert count(world, who) == [25, 25]
    world.pass_time(62)
    assert count(world, who) == [25, 25]


def test_what_was_let_in_without_redis_counts_when_it_is_back():
    world, who = world_of(2), principal(*held(limit(amount=50, on_outage="share")))
    cut(world)
    assert count(world, who, times=20) == [20, 20]
    cut(world, away=False)
    world.pass_time(3)
    assert sum(count(world, who)) == 10


def test_a_new_process_is_counted_and_a_dead_one_is_not():
    world = world_of(2)
    world.kill(world.processes[0])
    world.process()
    world.process()
    world.pass_time(15)
    assert len(world.processes[1].limits.life.processes) == 3


def test_the_remainder_goes_to_the_first():
    assert [Share(name, ["a", "b", "c"]).part(5) for name in "abc"] == [2, 2, 1]


def test_nothing_is_granted_before_all_have_declared_or_their_leases_ran_out():
    world, who = world_of(2), principal(*held(limit(amount=100)))
    first, second = world.processes
    for _ in range(80):
        assert world.request(first, who)
    world.restart_redis(None)
    first.client.cut = True
    world.pass_time(3)
    assert second.limits.life.state == "rebuilding"
    assert world.request(second, who) is None
    world.pass_time(3)
    assert second.limits.life.state == "up"


def test_it_is_soon_over_when_all_have_declared():
    world, who = world_of(2), principal(*held(limit(amount=100)))
    for _ in range(80):
        assert world.request(world.processes[0], who)
    world.pass_time(2)
    world.restart_redis(None)
    world.pass_time(4)
    assert [process.limits.life.state for process in world.processes] == ["up", "up"]
    assert sum(count(world, who)) == 20


def test_a_counter_that_redis_lost_alone_begins_a_new_life():
    world, who = world_of(2), principal(*held(limit(amount=100)))
    for _ in range(80):
        assert world.request(world.processes[0], who)
    world.pass_time(2)
    world.store.counters.clear()
    before = world.processes[0].limits.life.number
    assert world.request(world.processes[0], who, 100) is None
    world.pass_time(6)
    assert world.processes[0].limits.life.number > before
    assert sum(count(world, who)) == 20


def left(world, process, who):
    return at_once(process.limits.standings(who, world.clock(process)))[0].remaining


def test_what_ran_out_stays_spent_whatever_its_request_used():
    world, who = world_of(2), principal(*held(limit(amount=100)))
    first, second = world.processes
    late = world.request(first, who, 1, 45)
    assert late
    assert world.request(second, who, 1, 45)
    world.pass_time(1, looking=False)
    world.look(second)
    world.pass_time(6, looking=False)
    world.look(second)
    world.look(first)
    world.settle(late, 0)
    world.pass_time(2)
    assert left(world, second, who) == 10


def test_what_left_the_window_is_not_given_back_into_it():
    world, who = world_of(2), principal(*held(limit(amount=100)))
    first, second = world.processes
    long = world.request(first, who, 1, 99)
    assert long
    world.pass_time(62)
    assert world.request(first, who, 1, 1)
    assert world.request(second, who, 1, 99)
    world.settle(long, 0)
    assert world.request(first, who, 1, 50) is None
    world.pass_time(2)
    assert left(world, first, who) == 0


@pytest.fixture
def server(tmp_path):
    with parts.redis(tmp_path) as running:
        yield running


@pytest.fixture
async def store(server):
    made = RedisStore(server.address)
    yield made
    await made.close()


async def until_up(limits):
    async with asyncio.timeout(60):
        while limits.life.state != "up":
            await limits.upkeep.look()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("forget", [False, True])
async def test_a_redis_that_was_killed_or_flushed_does_not_forget_the_limit(server, store, forget):
    limits, who = (
        RedisLimits(store, "p1", lease=1.0),
        principal(*held(limit(amount=100), limit(window="day", amount=90))),
    )
    await until_up(limits)
    for _ in range(8):
        assert isinstance(await limits.wait(demand(who), utc_now()), Grant)
    for _ in range(3):  # what is idle goes back
        await limits.upkeep.look()
    if forget:
        await store._redis.flushall()
    else:
        server.kill()
        denied = await limits.wait(demand(who, 20), utc_now())
        assert isinstance(denied, Denial)
        assert (denied.code, denied.held) == ("limits_unavailable", None)
        await asyncio.to_thread(server.start)
    assert not isinstance(await limits.wait(demand(who, 20), utc_now()), Grant)
    await until_up(limits)
    minute, day = [standing.remaining for standing in await limits.standings(who, utc_now())]
    assert (minute, day) == (20, 10)
    assert isinstance(await limits.wait(demand(who, 21), utc_now()), Denial)


async def test_a_step_is_never_taken_on_another_server_than_was_agreed_on(server, store):
    known = await store.attend("p1", 0, declared=False, lost=False, lease=1_000_000, known=())
    assert (await store.exchange("p1", known.life, 1_000_000, [ask()])).status == "done"
    server.kill()
    await asyncio.to_thread(server.start)
    for _ in range(3):
        with pytest.raises((RedisError, OSError)):
            await store.exchange("p1", known.life, 1_000_000, [ask()])
    again = await store.attend("p1", known.life, declared=False, lost=False, lease=1_000_000, known=())
    assert again.life > known.life
    assert (await store.exchange("p1", again.life, 1_000_000, [ask()])).status == "done"
