"""An upstream that cannot be reached: requests are answered at once, until one connection comes about."""

import asyncio
import socket
import time

import pytest

from proxy.lane import circuit
from proxy.lane import pool as pool_module
from proxy.lane.circuit import FAILURES, Circuit, OpenCircuitError
from tests.proxy.memory import post
from tests.proxy.serving import ANSWER, BODY, CHAT, proxy, unary
from tests.proxy.upstream import Got, Piece, plain


def test_it_opens_after_failures_in_a_row_and_lets_one_attempt_through_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    tried = Circuit(("vllm", 8000))
    for _ in range(FAILURES - 1):
        tried.check()
        tried.note(OSError())
    tried.note(None)
    for _ in range(FAILURES):
        tried.check()
        tried.note(OSError())
    assert (tried.open, tried.failed) == (True, 2 * FAILURES - 1)
    with pytest.raises(OpenCircuitError):
        tried.check()
    now[0] += circuit.PAUSE_SECONDS
    assert (tried.open,) == (False,), "who sends nothing is not kept from being sent something"
    tried.check()
    with pytest.raises(OpenCircuitError):
        tried.check()
    tried.note(None)
    tried.check()
    assert (tried.open,) == (False,)


async def test_who_cannot_be_reached_is_not_tried_for_every_request() -> None:
    async with proxy(unary, listed=False) as it:
        pool = it.traffic._lane.pool
        pool.close()  # the connection that asked for the models
        there = pool._address
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            pool._address = free.getsockname()
            answers = [await it.ask(post(CHAT, BODY)) for _ in range(100)]
        assert any(b"the last 5 connections" in answer.body for answer in answers)
        assert {answer.status for answer in answers} == {502}
        assert all(b"upstream_unreachable" in answer.body for answer in answers)
        pool._address = there
        async with asyncio.timeout(60):
            while (await it.ask(post(CHAT, BODY))).status != 200:
                await asyncio.sleep(0.01)
        assert {(await it.ask(post(CHAT, BODY))).status for _ in range(3)} == {200}
        assert len(it.recorder.opens) == len(it.recorder.closes), "each was recorded, and once"
        assert {usage.accuracy for usage in it.recorder.closes if usage.status == 502} == {"exact"}


async def test_a_kept_connection_that_vllm_ends_is_gone_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", 1e9)  # so that nothing else removes it

    def answer(_got: Got) -> list[Piece]:
        return [plain(ANSWER), None]

    async with proxy(answer) as it:
        pool = it.traffic._lane.pool
        for number in range(3):
            assert (await it.ask(post(CHAT, BODY))).status == 200
            async with asyncio.timeout(60):
                while pool._idle:
                    await asyncio.sleep(0.01)
            assert len(it.raw.got) == number + 1, "none was sent twice"
