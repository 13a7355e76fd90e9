"""The queue as clients meet it, on both lanes: they wait, they are served in order, they are sent away, or they leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from contracts.projection import KeyRecord
from proxy.ports import Principal, Refusal
from proxy.queue.gate import Gate
from tests.proxy.fakes import KEY, MemoryLimits, held, holding
from tests.proxy.memory import post
from tests.proxy.serving import ANSWER, BODY, CHAT, Proxy, proxy
from tests.proxy.slow.h2client import client
from tests.proxy.upstream import Got, Piece, plain

OTHER = b"wb-key-of-another-tenant"
ANOTHER = Principal(KeyRecord(id="key_2", tenant="ten_other", revision=1), {})


class Busy:
    """A proxy whose vLLM takes one request at a time, and answers it when told to (`free`)."""

    def __init__(self) -> None:
        self.it: Proxy
        self.holds: list[asyncio.Event] = []
        self.asked: list[asyncio.Task[Any]] = []
        self.over = False
        self.limits = MemoryLimits()

    def answer(self, _got: Got) -> list[Piece]:
        self.holds.append(asyncio.Event())
        if self.over:
            self.free()
        return [self.holds[-1], plain(ANSWER)]

    @property
    def gate(self) -> Gate:
        return self.it.traffic._lane.desk.gate

    async def until(self, *, forwarded: int, queued: int) -> None:
        async with asyncio.timeout(60):
            while (len(self.holds), self.gate.queued) != (forwarded, queued):
                await asyncio.sleep(0.01)

    async def send(self, key: bytes = KEY, body: bytes = BODY) -> "asyncio.Task[Any]":
        """Send a request that has to wait, or is the first."""
        before = len(self.holds) + self.gate.queued
        self.asked.append(asyncio.create_task(self.it.ask(post(CHAT, body, key=key))))
        async with asyncio.timeout(60):
            while len(self.holds) + self.gate.queued == before:
                await asyncio.sleep(0.01)
        return self.asked[-1]

    def free(self) -> None:
        """Have vLLM answer what it has."""
        self.holds[-1].set()


@asynccontextmanager
async def busy(**changes: Any) -> AsyncIterator[Busy]:
    made = Busy()
    async with proxy(made.answer, limits=made.limits, **{"capacity": 1, **changes}) as made.it:
        made.it.directory.known[OTHER] = ANOTHER
        await made.send()
        yield made
        made.over = True
        for hold in made.holds:
            hold.set()
        await asyncio.gather(*made.asked, return_exceptions=True)


async def test_who_waits_is_served_when_there_is_room() -> None:
    async with busy() as it:
        second = await it.send()
        await it.until(forwarded=1, queued=1)
        assert "weighbridge_queued_requests 0.0" not in await metrics(it)
        it.free()
        await it.until(forwarded=2, queued=0)
        it.free()
        assert (await second).status == 200
        await it.it.settled(2)
        passed, waited = it.it.recorder.decisions
        assert passed.queue_seconds == 0.0
        assert waited.queue_seconds is not None
        assert waited.queue_seconds > 0.0
        assert waited.admitted_at is not None
        assert (waited.admitted_at - waited.received_at).total_seconds() >= waited.queue_seconds
        assert it.gate.in_flight == 0


async def metrics(it: Busy) -> str:
    it.it.traffic._lane.desk.flush_metrics()
    return "\n".join(f"{s.name} {s.value}" for each in it.it.registry.collect() for s in each.samples)


async def test_one_request_of_another_tenant_is_not_behind_many_of_one() -> None:
    async with busy() as it:
        for _ in range(4):
            await it.send(body=BODY)
        small = await it.send(OTHER)
        for forwarded in (2, 3):
            it.free()
            await it.until(forwarded=forwarded, queued=6 - forwarded)
        it.free()
        assert (await small).status == 200
        assert [decision.tenant for decision in it.it.recorder.decisions[:3]].count("ten_other") == 1


@pytest.mark.parametrize(("path", "status"), [(CHAT, 503), ("/v1/messages", 529)])
async def test_who_waited_too_long_is_told_when_to_come_again(path: str, status: int) -> None:
    async with busy(queue_timeout=0.05) as it:
        answer = await it.it.ask(post(path, b'{"model":"tiny","messages":[],"max_tokens":5}'))
        assert answer.status == status
        assert answer.header("retry-after") == "1"
        error = msgspec.json.decode(answer.body)["error"]
        assert error.get("code", "server_overloaded") == "server_overloaded"
        assert error["type"] == ("server_error" if status == 503 else "overloaded_error")
        _, denied = it.it.recorder.decisions
        assert (denied.decision, denied.code, denied.status) == ("denied", "server_overloaded", status)
        assert denied.queue_seconds is not None
        assert denied.queue_seconds > 0.04  # timers count whole milliseconds
        assert it.gate.queued == 0
        assert len(it.it.raw.got) == 1


async def test_a_full_queue_sends_away_at_once() -> None:
    async with busy(queue_length=1) as it:
        await it.send()
        assert (await it.it.ask(post(CHAT, BODY))).status == 503
        assert it.gate.queued == 1


async def test_a_client_of_http_1_that_hangs_up_leaves_the_queue() -> None:
    async with busy() as it:
        _, writer = await it.it.connect()
        writer.write(post(CHAT, BODY))
        await it.until(forwarded=1, queued=1)
        writer.close()
        await it.until(forwarded=1, queued=0)


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_a_client_of_http_2_that_hangs_up_leaves_the_queue(way: str) -> None:
    async with busy() as it, client(it.it.traffic.port) as h2:
        number = h2.ask(body=BODY)
        await it.until(forwarded=1, queued=1)
        if way == "reset":
            h2.h2.reset_stream(number)
            h2.flush()
        else:
            await h2.close()
        await it.until(forwarded=1, queued=0)


async def test_http_2_waits_for_its_turn_too() -> None:
    async with busy() as it, client(it.it.traffic.port) as h2:
        number = h2.ask(body=BODY)
        await it.until(forwarded=1, queued=1)
        it.free()
        await it.until(forwarded=2, queued=0)
        it.free()
        assert (await h2.answer(number)).status == 200


async def test_a_large_body_waits_for_its_turn_with_its_end_kept_back() -> None:
    body = b'{"messages":[{"role":"user","content":"' + b"x" * 100_000 + b'"}],"model":"tiny"}'
    async with busy(held_body=50_000) as it:
        task = await it.send(body=body)
        await it.until(forwarded=1, queued=1)
        it.free()
        await it.until(forwarded=2, queued=0)
        it.free()
        assert (await task).status == 200


async def test_a_key_that_is_revoked_meanwhile_is_refused() -> None:
    async with busy() as it:
        task = await it.send(OTHER)
        del it.it.directory.known[OTHER]
        it.it.directory.distant[OTHER] = Refusal("invalid_api_key", "It was revoked.")
        it.free()
        assert (await task).status == 401
        await it.it.settled()
        assert it.gate.in_flight == 0


async def test_a_key_that_cannot_be_asked_about_gives_its_turn_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with busy() as it:
        broken = asyncio.Event()

        async def find(*_: object) -> Principal:
            broken.set()
            raise RuntimeError("out of order")

        await it.send(OTHER)
        del it.it.directory.known[OTHER]
        monkeypatch.setattr(it.it.directory, "find", find)
        it.free()
        await broken.wait()
        await it.it.settled()
        await it.until(forwarded=1, queued=0)
        assert it.gate.in_flight == 0


async def test_a_full_spool_gives_the_turn_back() -> None:
    async with busy() as it:
        task = await it.send()
        it.it.recorder.refusal = Refusal("spool_full", "No room.")
        it.free()
        answer = await task
        assert (answer.status, msgspec.json.decode(answer.body)["error"]["code"]) == (503, "spool_full")
        await it.it.settled()
        assert it.gate.in_flight == 0


async def test_what_takes_no_time_of_the_engine_does_not_wait() -> None:
    async with busy() as it:
        await it.send()
        task = asyncio.create_task(it.it.ask(post("/tokenize", b'{"model":"tiny","prompt":"x"}')))
        await it.until(forwarded=2, queued=1)
        it.free()
        assert (await task).status == 200


async def test_nobody_waits_where_rules_are_not_enforced() -> None:
    async with busy(enforce="shadow") as it:
        task = await it.send()
        await it.until(forwarded=2, queued=0)
        it.free()
        assert (await task).status == 200


LARGE = b'{"messages":[{"role":"user","content":"' + b"x" * 100_000 + b'"}],"model":"tiny"}'


@pytest.mark.parametrize("way", ["late", "full", "hang-up", "reset", "upload", "broken"])
async def test_what_limits_granted_comes_back_when_nothing_comes_of_waiting(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, dict[str, Any]] = {
        "late": {"queue_timeout": 0.05},
        "full": {"queue_length": 1},
        "upload": {"held_body": 50_000},
    }
    async with busy(**settings.get(way, {})) as it, client(it.it.traffic.port) as h2:
        await it.send() if way == "full" else None
        it.it.directory.known[KEY] = holding(held("requests", 100), held("concurrency", 100))
        if way in {"late", "full"}:
            assert (await it.it.ask(post(CHAT, BODY))).status == 503
        elif way == "reset":
            number = h2.ask(body=BODY)
            await it.until(forwarded=1, queued=1)
            h2.h2.reset_stream(number)
            h2.flush()
        elif way == "broken":
            await it.send()
            del it.it.directory.known[KEY]
            monkeypatch.setattr(it.it.directory, "find", None)
            it.free()
        else:
            _, writer = await it.it.connect()
            writer.write(post(CHAT, LARGE if way == "upload" else BODY))
            await it.until(forwarded=1, queued=1)
            assert len(it.limits.open) == 1
            writer.close()
        async with asyncio.timeout(60):
            while it.limits.open or not it.limits.released:
                await asyncio.sleep(0.01)
        assert it.limits.released == 1
        assert it.gate.queued == (way == "full")


async def test_who_waited_is_settled_with_limits_once() -> None:
    async with busy() as it:
        it.it.directory.known[KEY] = holding(held("requests", 100))
        task = await it.send()
        it.free()
        await it.until(forwarded=2, queued=0)
        it.free()
        assert (await task).status == 200
        await it.it.settled(2)
        assert (len(it.limits.settled), it.limits.released, it.limits.open) == (1, 0, {})
