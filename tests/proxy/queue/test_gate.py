"""One worker's side of the queue: who passes at once, who waits, and who stops waiting."""

import asyncio
from datetime import UTC, datetime

import pytest

from proxy.ports import Refusal
from proxy.queue import gate as gate_module
from proxy.queue import lines
from proxy.queue.board import COUNTER
from proxy.queue.gate import Gate
from proxy.queue.order import SCALE
from proxy.queue.shared import Bells, Lock, Shared, open_board
from proxy.queue.turn import Turn

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def turn(tenant: str = "ten_a", size: int = 100) -> Turn:
    return Turn(tenant, "interactive", 100, size, NOW)


class NoLock(Lock):
    def __enter__(self) -> None:
        raise AssertionError("taken while there is room for all")


async def waits(gate: Gate, one: Turn) -> "asyncio.Task[Refusal | None]":
    """Have a request wait."""
    assert not gate.enter(one)
    task = asyncio.create_task(gate.wait(one))
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_with_room_for_all_nothing_is_locked() -> None:
    gate = Gate.alone(2, 10, 30)
    gate._lock = NoLock()
    one, other = turn(), turn()
    assert gate.enter(one)
    assert gate.enter(other)
    assert gate.in_flight == 2
    gate.leave(one, 1000)
    gate.leave(one, 1000)  # the second time is of no use
    assert gate.in_flight == 1
    assert not gate.waiting


async def test_who_ends_lets_the_next_one_in() -> None:
    gate = Gate.alone(1, 10, 30)
    one, other = turn(), turn("ten_b")
    assert gate.enter(one)
    task = await waits(gate, other)
    assert (gate.in_flight, gate.queued) == (1, 1)
    gate.leave(one, 10)
    assert await task is None
    assert other.held
    assert (gate.in_flight, gate.queued) == (1, 0)


async def test_a_tenant_that_used_much_comes_after_one_that_used_little() -> None:
    gate = Gate.alone(2, 10, 30)
    large, small = turn("ten_large"), turn("ten_small")
    assert gate.enter(large)
    assert gate.enter(small)
    again, more = turn("ten_large"), turn("ten_small")
    first, second = await waits(gate, again), await waits(gate, more)
    gate.charge(large, 4000)  # as far as its answer came
    gate.leave(small, 100)
    await second
    assert not first.done()
    gate.leave(large, 5000)
    await first


async def test_requests_that_fail_count_too() -> None:
    gate = Gate.alone(1, 100, 30)
    one = turn("ten_failing")
    assert gate.enter(one)
    failing, other = [turn("ten_failing") for _ in range(3)], turn("ten_other")
    tasks = [await waits(gate, each) for each in (*failing, other)]
    gate.leave(one, 0)  # it was not charged before, and is now
    assert other.held
    gate.leave(other, 0)
    assert failing[0].held
    gate.leave(failing[0], 0)
    await asyncio.gather(*tasks[:2], tasks[3])
    assert gate.in_flight == 1
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_was_charged_with_too_much_gets_it_back_though_nobody_waits_any_more() -> None:
    gate = Gate.alone(1, 100, 30)
    one, large = turn("ten_a"), turn("ten_b", size=40_000)
    assert gate.enter(one)
    task = await waits(gate, large)
    gate.leave(one, 100)
    await task
    assert counter(gate) == 10_000 * SCALE // 100
    gate.leave(large, 5000)
    assert counter(gate) == 5000 * SCALE // 100


def counter(gate: Gate) -> int:
    """Return that of the only flow."""
    words = gate._board.words
    return max(words[row + COUNTER] for row in gate._board.used)


async def test_who_hangs_up_leaves_the_queue() -> None:
    gate = Gate.alone(1, 10, 30)
    one, other, third = turn(), turn(), turn()
    assert gate.enter(one)
    task, last = await waits(gate, other), await waits(gate, third)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.queued == 1
    gate.leave(one, 10)
    await last
    assert gate.in_flight == 1


@pytest.mark.parametrize("first", ["turn", "hang-up"])
async def test_who_hangs_up_in_the_moment_of_the_turn_gives_it_back(first: str) -> None:
    gate = Gate.alone(1, 10, 30)
    one, other = turn(), turn()
    assert gate.enter(one)
    task = await waits(gate, other)
    if first == "turn":
        gate.leave(one, 10)
        task.cancel()
    else:
        task.cancel()
        gate.leave(one, 10)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (gate.in_flight, gate.queued) == (0, 0)


async def test_nobody_waits_longer_than_the_deadline() -> None:
    gate = Gate.alone(1, 10, 0.01)
    assert gate.enter(turn())
    refusal = await gate.wait(turn())
    assert refusal == Refusal("server_overloaded", "This server had no room for the request in 0.01 seconds.")
    assert gate.queued == 0


async def test_a_full_queue_says_so_at_once() -> None:
    gate = Gate.alone(1, 4, 7)
    assert gate.enter(turn())
    tasks = [await waits(gate, turn()) for _ in range(2)]  # what is left is for others
    refusal = await gate.wait(turn())
    assert refusal is not None
    assert refusal.code == "server_overloaded"
    assert refusal.retry_after == 7  # nobody was let in lately: until those that wait have gone
    tasks.append(await waits(gate, turn("ten_b")))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.source
async def test_large_bodies_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_BYTES", 1000)
    gate = Gate.alone(1, 10, 30)
    assert gate.enter(turn(size=5000))
    task = await waits(gate, turn(size=600))
    assert await gate.wait(turn("ten_b", size=600)) is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await waits(gate, turn("ten_b", size=600))


async def test_more_are_let_in_when_the_capacity_grows() -> None:
    gate = Gate.alone(1, 10, 30)
    assert gate.enter(turn())
    tasks = [await waits(gate, turn()) for _ in range(3)]
    gate.capacity = 3
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, True, False]
    gate.capacity = None
    await tasks[2]


class Pair:
    """Two workers of one proxy, on one loop."""

    def __init__(self, capacity: int) -> None:
        self.shared = Shared(1, 2, 10, capacity)
        (file,) = self.shared.files
        bells = [Bells(self.shared.bells, worker) for worker in range(2)]
        self.gates = [Gate(open_board(file, 2, 10), 30, n, Lock(file), bells[n]) for n in range(2)]
        for bell, gate in zip(bells, self.gates, strict=True):
            bell.listen(gate.look)


@pytest.mark.source
async def test_workers_count_together_and_wake_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "LOOK_EVERY", 1e9)
    pair = Pair(2)
    one, other = pair.gates
    first, second, third = turn(), turn(), turn("ten_b")
    assert one.enter(first)
    assert other.enter(second)
    assert one.in_flight == other.in_flight == 2
    task = await waits(other, third)
    late = turn("ten_c")
    last = await waits(one, late)
    assert one.queued == other.queued == 2
    one.leave(first, 10)  # it is the turn of who waits at the other
    assert await task is None
    assert not last.done()
    other.leave(third, 10)
    assert await last is None


async def test_a_worker_that_is_gone_gives_back_its_places_and_its_line() -> None:
    pair = Pair(1)
    one, other = pair.gates
    assert one.enter(turn())
    lost = await waits(one, turn())
    task = await waits(other, turn("ten_b"))
    pair.shared.clear(0)
    assert await task is None
    assert (other.in_flight, other.queued) == (1, 0)
    lost.cancel()
