"""How streams and connections of HTTP/2 end: who leaves, who fails, who is sent away, and back-pressure before that."""

import asyncio

import pytest
from h2.errors import ErrorCodes

from proxy.config import Timeouts
from tests.proxy.fakes import KEY
from tests.proxy.memory import get
from tests.proxy.serving import BODY, CHAT, SSE, STREAM, event, proxy, unary
from tests.proxy.slow.h2client import client
from tests.proxy.slow.slowly import END, emptied, slowly
from tests.proxy.upstream import Got, Piece


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_vllm_sees_at_once_that_the_client_left(way: str) -> None:
    async with proxy(slowly) as it, client(it.traffic.port) as h2:
        number = h2.ask(body=STREAM)
        await h2.got(number, 300)
        if way == "reset":
            h2.h2.reset_stream(number, ErrorCodes.CANCEL)
            h2.flush()
        else:
            await h2.close()
        async with asyncio.timeout(120):
            await it.raw.ended.wait()
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, usage.input_tokens) == ("client_closed", "exact", 3)
        assert 3 <= usage.output_tokens <= 100
        if way == "reset":  # the others on this connection go on
            assert (await h2.answer(h2.ask(b"/v1/models", method=b"GET"))).body == it.raw.models


async def test_a_stream_that_is_opened_and_reset_at_once() -> None:
    async with proxy(slowly) as it, client(it.traffic.port) as h2:
        number = h2.h2.get_next_available_stream_id()
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", CHAT.encode())]
        h2.h2.send_headers(number, [*fields, (b"authorization", b"Bearer " + KEY)])
        h2.h2.send_data(number, STREAM, end_stream=True)
        h2.h2.reset_stream(number, ErrorCodes.CANCEL)
        h2.flush()  # all in one segment
        assert (await it.settled()).outcome == "client_closed"


@pytest.mark.parametrize("window", ["stream", "socket"])
async def test_a_client_that_reads_nothing_stops_vllm(window: str) -> None:
    """Back-pressure: of 200 MB, only what fits into windows, sockets and buffers leaves vLLM."""
    big = event(1, b"x" * 65_536)
    async with proxy(lambda _got: [SSE, *[big] * 3200]) as it, client(it.traffic.port) as h2:
        h2.greedy = False
        if window == "socket":  # windows that never end, but nobody who reads
            h2.h2.increment_flow_control_window(2**31 - 1 - 65_535)
            h2.h2.update_settings({4: 2**31 - 1})
            h2.flush()
            h2._reading.cancel()
        number = h2.ask(body=STREAM)
        sent = -1
        async with asyncio.timeout(120):
            while it.raw.sent != sent or sent == 0:
                sent = it.raw.sent
                await asyncio.sleep(0.5)
        assert 0 < sent < 40_000_000
        if window == "stream":  # and it goes on when the client does
            h2.h2.increment_flow_control_window(1_000_000)
            h2.h2.increment_flow_control_window(1_000_000, number)
            h2.flush()
            await h2.got(number, 1_000_000)
        h2.writer.transport.abort()
        assert (await it.settled()).outcome == "client_closed"
        await emptied(it)


async def test_an_upstream_that_fails() -> None:
    def answer(got: Got) -> list[Piece]:
        return [SSE, event(4), None] if b"stream" in got.body else [None]

    async with proxy(answer) as it, client(it.traffic.port) as h2:
        it.traffic._lane.pool.close()
        refused = await h2.answer(h2.ask(body=BODY))
        assert (refused.status, b"upstream_unreachable" in refused.body) == (502, True)
        broken = await h2.answer(h2.ask(body=STREAM))
        assert (broken.status, broken.reset) == (200, ErrorCodes.INTERNAL_ERROR)
        assert [usage.outcome for usage in it.recorder.closes] == ["upstream_error"] * 2
        assert it.recorder.closes[1].output_tokens == 4
        it.raw.answer = unary
        assert (await h2.answer(h2.ask(body=BODY))).status == 200


async def test_what_takes_too_long() -> None:
    def answer(got: Got) -> list[Piece]:
        return [SSE, event(7), 20.0] if b'"stream"' in got.body else [20.0]

    times = Timeouts(first_byte=0.4, idle=0.4, total=30, client_idle=0.4)
    async with proxy(answer, timeouts=times) as it, client(it.traffic.port) as h2:
        late, broken = h2.ask(body=BODY), h2.ask(body=STREAM)
        assert (await h2.answer(late)).status == 504
        assert (await h2.answer(broken)).reset is not None
        assert [usage.outcome for usage in it.recorder.closes] == ["upstream_timeout"] * 2
        async with asyncio.timeout(120):  # nothing runs any more
            await h2.closed.wait()
        assert h2.goodbye is not None
        assert h2.goodbye.error_code == ErrorCodes.NO_ERROR
        await emptied(it)


async def test_drain_lets_streams_end() -> None:
    looked = asyncio.Event()

    def answer(_got: Got) -> list[Piece]:
        return [SSE, event(1), looked, event(2), *END]

    async with proxy(answer) as it, client(it.traffic.port) as h2, client(it.traffic.port) as idle:
        number = h2.ask(body=STREAM)
        await h2.got(number, 1)
        draining = asyncio.create_task(it.traffic.drain(120))
        async with asyncio.timeout(120):
            await idle.closed.wait()
            refused = await h2.answer(h2.ask(body=BODY))
        assert refused.reset == ErrorCodes.REFUSED_STREAM
        looked.set()
        assert (await h2.answer(number)).whole
        await draining
        await h2.closed.wait()
        assert h2.goodbye is not None
        assert it.recorder.closes[0].outcome == "completed"


async def test_drain_has_a_deadline() -> None:
    async with proxy(slowly) as it, client(it.traffic.port) as h2:
        number = h2.ask(body=STREAM)
        await h2.got(number, 1)
        await it.traffic.drain(0.2)
        assert it.recorder.closes[0].outcome == "proxy_lost"
        assert not (await h2.answer(number)).whole


async def test_a_client_that_only_makes_work_is_sent_away() -> None:
    async with proxy(slowly) as it, client(it.traffic.port) as h2:
        for _ in range(300):
            number = h2.ask(b"/health", method=b"GET")
            h2.h2.reset_stream(number, ErrorCodes.CANCEL)
        h2.flush()
        async with asyncio.timeout(120):
            await h2.closed.wait()
        assert h2.goodbye is not None
        assert h2.goodbye.error_code == ErrorCodes.ENHANCE_YOUR_CALM
        await emptied(it)


async def test_bytes_that_are_no_http2() -> None:
    async with proxy(unary) as it:
        reader, writer = await it.connect()
        writer.write(b"P")
        await asyncio.sleep(0.05)
        writer.write(b"RI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        async with asyncio.timeout(120):
            received = await reader.read()
        assert b"protocol error" in received.lower()
        writer.close()
        assert (await it.ask(get("/v1/models"))).status == 200
        await emptied(it)


async def test_an_error_of_our_own_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """mitmproxy would go on, and the client would wait for ever."""
    async with proxy(slowly) as it, client(it.traffic.port) as h2:
        number = h2.ask(body=STREAM)
        await h2.got(number, 1)
        monkeypatch.setattr("proxy.slow.http2.Http2._balance", lambda _self: 1 / 0)
        async with asyncio.timeout(120):
            await h2.closed.wait()
        assert (await it.settled()).outcome == "proxy_lost"
        await emptied(it)
