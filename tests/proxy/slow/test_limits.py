"""Limits on real sockets: on both lanes, for bodies that are held and that pass, the same is taken, told and settled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from h2.errors import ErrorCodes
from websockets.exceptions import InvalidStatus

from contracts.limits import Held
from proxy.ports import Amounts
from proxy.streamed import upload
from tests.proxy.fakes import KEY, MemoryLimits, held, holding
from tests.proxy.lane.test_uploads import chat, head
from tests.proxy.memory import post
from tests.proxy.serving import ANSWER, BODY, CHAT, STREAM, Proxy, proxy, unary
from tests.proxy.slow.h2client import client
from tests.proxy.slow.slowly import slowly
from tests.proxy.slow.test_http2_uploads import send
from tests.proxy.slow.test_realtime import begin, end, hear, open_session, say, sessions
from tests.proxy.streamed.upstreams import Taking, in_front_of
from tests.proxy.upstream import Answerer, plain

TOKENS, REQUESTS = held("total_tokens", 10_000_000, precision="expected"), held("requests", 3)
HELD = 50_000
LARGE = chat(200_000, b'"max_tokens":50')
SMALL = b'{"model":"tiny","messages":[],"max_tokens":50}'
LANES = pytest.mark.parametrize("lane", ["http/1.1", "http/2"])
BODIES = pytest.mark.parametrize("body", [SMALL, LARGE], ids=["held", "passed on"])


@asynccontextmanager
async def limited(answer: Answerer = unary, *limits: Held, **changes: Any) -> AsyncIterator[tuple[Proxy, MemoryLimits]]:
    fake = MemoryLimits()
    async with proxy(answer, limits=fake, held_body=HELD, **changes) as it:
        it.directory.known[KEY] = holding(*(limits or (TOKENS, REQUESTS)))
        yield it, fake


async def ask(it: Proxy, lane: str, body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a chat; return status, headers and body of its answer."""
    if lane == "http/1.1":
        answer = await it.ask(post(CHAT, body))
        return answer.status, {name.lower(): content for name, content in answer.headers}, answer.body
    async with client(it.traffic.port) as h2:
        number = h2.ask(CHAT.encode(), None, end=False)
        await send(h2, number, body)
        h2.h2.end_stream(number)
        h2.flush()
        stream = await h2.answer(number)
        return stream.status, stream.fields, stream.body


@LANES
@BODIES
async def test_the_same_is_taken_told_and_settled(lane: str, body: bytes) -> None:
    async with limited() as (it, fake):
        status, fields, answer = await ask(it, lane, body)
        assert (status, answer) == (200, ANSWER)
        assert (fields[b"x-ratelimit-limit-requests"], fields[b"x-ratelimit-remaining-requests"]) == (b"3", b"2")
        await it.settled()
        assert (fake.settled, len(fake.open), fake.released) == ([Amounts(3, 2)], 0, 0)
        (demand,) = fake.demands
        assert demand.bound.output == 50
        assert demand.bound.input > len(body)
        assert it.recorder.decisions[0].reserved_tokens == demand.bound.input + 50


@LANES
@BODIES
async def test_the_same_is_denied(lane: str, body: bytes) -> None:
    async with limited(unary, held("requests", 0, "day")) as (it, fake):
        status, fields, answer = await ask(it, lane, body)
        assert status == 429
        assert msgspec.json.decode(answer)["error"]["code"] == "insufficient_quota"
        assert fields[b"x-should-retry"] == b"false"
        assert not [got for got in it.raw.got if got.body]
        assert not fake.open
        (decision,) = it.recorder.decisions
        assert (decision.decision, decision.limit) == ("denied", "lim_requests")


@LANES
@BODIES
async def test_limits_that_have_to_be_waited_for(lane: str, body: bytes) -> None:
    async with limited() as (it, fake):
        fake.distant = True
        assert (await ask(it, lane, body))[0] == 200
        await it.settled()
        assert fake.settled == [Amounts(3, 2)]


@LANES
@BODIES
async def test_caps_and_other_models_are_written_into_what_passes_too(lane: str, body: bytes) -> None:
    degrading = held("requests", 0, "day", when_reached="degrade", degrade_to="adapter")
    async with limited(unary, degrading) as (it, _):
        it.directory.known[KEY] = holding(degrading, max_tokens=7)
        assert (await ask(it, lane, body))[0] == 200
        sent = msgspec.json.decode(it.raw.got[0].body)
        assert (sent["max_tokens"], sent["model"]) == (7, "adapter")
        usage = await it.settled()
        assert (usage.model, usage.base_model) == ("tiny", "tiny")


@LANES
async def test_an_upload_that_breaks_off_takes_nothing(lane: str) -> None:
    fake, vllm = MemoryLimits(), Taking()
    async with in_front_of(vllm, held_body=HELD, limits=fake) as it:
        it.directory.known[KEY] = holding(TOKENS)
        if lane == "http/1.1":
            _, writer = await it.connect()
            writer.write(head(900_000) + LARGE[:150_000])
        else:
            async with client(it.traffic.port) as h2:
                await send(h2, h2.ask(CHAT.encode(), None, end=False), LARGE[:150_000])
                await until(lambda: vllm.taken > 100_000)
        await until(lambda: vllm.taken > 100_000)
        if lane == "http/1.1":
            writer.close()
        await until(lambda: not it.clients)
        assert (fake.demands, fake.open) == ([], {})


async def test_an_upload_whose_vllm_is_lost_is_settled_or_given_back() -> None:
    async def die(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await vllm.take(reader)

    fake, vllm = MemoryLimits(), Taking(die)
    async with in_front_of(vllm, held_body=HELD, limits=fake) as it:
        it.directory.known[KEY] = holding(TOKENS, REQUESTS)
        assert (await it.ask(post(CHAT, LARGE))).status == 502
        await it.settled()
        assert (fake.open, fake.settled, fake.released) == ({}, [Amounts(0, 0)], 0)


async def test_an_upload_whose_client_leaves_while_limits_are_waited_for_takes_nothing() -> None:
    fake, vllm = MemoryLimits(), Taking()
    fake.distant, fake.waiting = True, asyncio.Event()
    vllm.answer = plain(ANSWER)
    async with in_front_of(vllm, held_body=HELD, limits=fake) as it:
        it.directory.known[KEY] = holding(TOKENS, REQUESTS)
        _, writer = await it.connect()
        writer.write(post(CHAT, LARGE))
        await until(lambda: vllm.taken > 190_000)
        writer.close()
        await until(lambda: not it.clients)
        fake.waiting.set()
        await until(lambda: not it.traffic._lane.shares._bytes)
        assert (fake.open, fake.demands, it.recorder.closes) == ({}, [], [])
        assert not vllm.ended.is_set()


@LANES
async def test_a_stream_whose_client_leaves_is_settled_with_what_it_had(lane: str) -> None:
    async with limited(slowly) as (it, fake):
        if lane == "http/1.1":
            reader, writer = await it.connect()
            writer.write(post(CHAT, STREAM))
            await reader.read(500)
            writer.close()
        else:
            async with client(it.traffic.port) as h2:
                number = h2.ask(body=STREAM)
                await h2.got(number, 300)
                h2.h2.reset_stream(number, ErrorCodes.CANCEL)
                h2.flush()
                await it.settled()
        usage = await it.settled()
        assert usage.outcome == "client_closed"
        assert fake.settled == [Amounts(usage.input_tokens, usage.output_tokens)]
        assert not fake.open


async def test_a_kept_connection_that_was_gone_costs_once() -> None:
    """Complaints about charging every attempt: what is sent again on another connection is one request."""
    async with limited() as (it, fake):
        assert (await it.ask(post(CHAT, BODY))).status == 200
        (kept,) = it.traffic._lane.pool._idle
        it.raw.answer = lambda got: [None] if got.connection == 1 else [plain(ANSWER)]
        assert kept is not None
        for _ in range(2):
            assert (await it.ask(post(CHAT, BODY))).status == 200
        await it.settled(3)
        assert fake.used[REQUESTS.name] == 3
        assert fake.settled == [Amounts(3, 2)] * 3


async def test_a_session_takes_a_place_and_settles_what_its_utterances_used() -> None:
    fake, places = MemoryLimits(), held("concurrency", 1)
    async with sessions(limits=fake) as (it, _):
        it.directory.known[KEY] = holding(places, TOKENS)
        async with open_session(it) as ws:
            await hear(ws)
            await say(ws, type="session.update", model="tiny")
            await begin(ws, 3)
            await end(ws)
            with pytest.raises(InvalidStatus) as refused:
                async with open_session(it):
                    pass
            assert refused.value.response.status_code == 429
        usage = await it.settled()
        assert fake.settled == [Amounts(usage.input_tokens, usage.output_tokens)]
        assert not fake.open
        it.directory.known[KEY] = holding(held("total_tokens", 10_000))
        with pytest.raises(InvalidStatus) as refused:
            async with open_session(it):
                pass
        assert refused.value.response.status_code == 400
        assert b"strict" in refused.value.response.body


async def test_what_vllm_lost_before_the_end_was_sent_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last byte of the client and the end of the body, vLLM may go: then it began nothing."""
    plainly = upload.Sent.give

    def lose(sent: upload.Sent, sink: Any) -> None:
        sent._seen.lost = "gone"
        plainly(sent, sink)

    monkeypatch.setattr(upload.Sent, "give", lose)
    fake = MemoryLimits()
    async with in_front_of(Taking(), held_body=HELD, limits=fake) as it:
        it.directory.known[KEY] = holding(TOKENS, REQUESTS)
        assert (await it.ask(post(CHAT, LARGE))).status == 502
        assert (fake.open, fake.settled, fake.released) == ({}, [], 1)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
