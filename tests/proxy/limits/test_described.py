"""What the stream is told of counters of days and months."""

import pytest

from tests.proxy.limits.people import held, limit, principal
from tests.proxy.limits.world import World


@pytest.fixture
def world() -> World:
    return World()


def test_a_counter_is_described_with_its_limit(world: World) -> None:
    day = limit(window="day", amount=50, notify_at=(90,))
    process = world.process()
    world.pass_time(10)
    world.request(process, principal(*held(day)))
    world.pass_time(2)
    [told] = world.registered.values()
    assert (told.subject, told.limit, told.amount, told.notify_at) == ("ten_a", day.id, 50, (90,))


def test_a_limit_that_changed_is_described_again(world: World) -> None:
    process = world.process()
    world.pass_time(10)
    world.request(process, principal(*held(limit(window="day", amount=50))))
    world.pass_time(2)
    world.request(process, principal(*held(limit(window="day", amount=80, notify_at=(10,)))))
    world.pass_time(2)
    [told] = world.registered.values()
    assert (told.amount, told.notify_at) == (80, (10,))


def test_a_limit_in_shadow_raises_no_alerts(world: World) -> None:
    process = world.process()
    world.pass_time(10)
    world.request(process, principal(*held(limit(window="day", mode="shadow"))))
    world.pass_time(2)
    [told] = world.registered.values()
    assert told.notify_at == ()
