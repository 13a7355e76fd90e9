"""The traffic side as a process runs it: mitmproxy's Master, real sockets."""

import asyncio
import socket
import ssl
import struct
from typing import Any

import openai
import pytest

from proxy.config import Timeouts
from proxy.ports import Principal
from tests.proxy import recorded
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import get, post, responses
from tests.proxy.serving import ANSWER, BODY, CHAT, SSE, STREAM, bind, chunk, event, proxy, unary
from tests.proxy.upstream import Got, Piece, plain


async def test_a_request() -> None:
    async with proxy(unary) as it:
        answer = await it.ask(post(CHAT, BODY))
        assert (answer.status, answer.body) == (200, ANSWER)
        usage = await it.settled()
        assert (usage.tenant, usage.served_model, usage.base_model, usage.input_tokens) == (
            "ten_search",
            "tiny",
            "tiny",
            3,
        )
        assert usage.client_address == "127.0.0.1"
        assert it.traffic.model == "tiny"
        await it.traffic.drain(1)
        assert it.registry.get_sample_value("weighbridge_tokens_total", {"model": "tiny", "type": "output"}) == 2
        labels = {"model": "tiny", "endpoint": CHAT, "status": "200", "outcome": "completed"}
        assert it.registry.get_sample_value("weighbridge_requests_total", labels) == 1
        assert it.registry.get_sample_value("weighbridge_request_duration_seconds_count", {"model": "tiny"}) == 1


async def test_keys_that_must_be_looked_up() -> None:
    async with proxy(unary) as it:
        it.directory.distant[b"far"] = Principal(KEY_RECORD, {})
        assert (await it.ask(post(CHAT, BODY, key=b"far"))).status == 200
        assert (await it.ask(post(CHAT, BODY, key=b"wrong"))).status == 401
        assert it.directory.asked == 2
        assert [one.decision for one in it.recorder.decisions] == ["admitted", "denied"]


async def test_models() -> None:
    """An adapter is billed under its own name and its base; a model that is new is found within a second."""
    async with proxy(unary) as it:
        await it.ask(post(CHAT, b'{"model":"adapter"}'))
        assert (await it.settled()).base_model == "tiny"
        it.raw.models = b'{"data":[{"id":"tiny"},{"id":"new"}]}'
        await asyncio.sleep(1.01)
        assert (await it.ask(post(CHAT, b'{"model":"new"}'))).status == 200
        assert (await it.ask(post(CHAT, b'{"model":"none"}'))).status == 404
        assert len(it.raw.got) == 2


async def test_without_a_list_anything_is_forwarded() -> None:
    async with proxy(unary, listed=False) as it:
        assert (await it.ask(post(CHAT, b'{"model":"whatever"}'))).status == 200
        usage = await it.settled()
        assert (usage.model, usage.served_model, usage.base_model) == ("whatever", "tiny", None)


async def test_upstream_that_is_down() -> None:
    async with proxy(unary, listed=False) as it:
        it.traffic._lane.pool.close()  # the one that asked for the models
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            it.traffic._lane.pool._address = free.getsockname()
        answer = await it.ask(post(CHAT, BODY))
        assert (answer.status, b"upstream_unreachable" in answer.body) == (502, True)
        usage = await it.settled()
        assert (usage.outcome, usage.status, usage.accuracy) == ("upstream_error", 502, "exact")
        assert (usage.input_tokens, usage.upstream_status) == (None, None)


@pytest.mark.source
async def test_upstream_that_cannot_be_reached_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(unary, listed=False) as it:
        queued = []

        async def connect() -> Any:
            it.traffic._lane.desk.flush_metrics()
            queued.append(it.registry.get_sample_value("weighbridge_queued_requests"))
            raise TimeoutError

        it.traffic._lane.pool.close()
        monkeypatch.setattr(type(it.traffic._lane.pool), "connect", lambda _pool: connect())
        assert (await it.ask(post(CHAT, BODY))).status == 504
        assert (await it.settled()).outcome == "upstream_timeout"
        it.traffic._lane.desk.flush_metrics()
        assert [*queued, it.registry.get_sample_value("weighbridge_queued_requests")] == [1, 0]


async def test_a_connection_that_had_been_closed_is_not_the_clients_problem() -> None:
    """The second request meets a connection that vLLM ends: it is sent once more, and recorded once."""

    def answer(got: Got) -> list[Piece]:
        first_of_connection = [one.connection for one in it.raw.got].count(got.connection) == 1
        return [plain(ANSWER)] if first_of_connection else [None]

    async with proxy(answer) as it:
        for _ in range(3):
            assert (await it.ask(post(CHAT, BODY))).status == 200
        assert [got.connection for got in it.raw.got][:3] != [it.raw.got[0].connection] * 3
        assert len(it.recorder.opens) == len(it.recorder.closes) == 3
        assert {usage.outcome for usage in it.recorder.closes} == {"completed"}


async def test_a_new_connection_that_ends_is_not_tried_again() -> None:
    """vLLM may have begun to work on the request."""
    async with proxy(lambda _got: [None]) as it:
        it.traffic._lane.pool.close()
        assert (await it.ask(post(CHAT, BODY))).status == 502
        assert len(it.raw.got) == 1
        assert (await it.settled()).accuracy == "unknown"


@pytest.mark.parametrize("way", ["close", "reset", "half"])
async def test_vllm_sees_at_once_that_the_client_left(way: str) -> None:
    def answer(_got: Got) -> list[Piece]:
        return [SSE, *[piece for n in range(500) for piece in (event(n), 0.02)]]

    async with proxy(answer) as it:
        reader, writer = await it.connect()
        writer.write(post(CHAT, STREAM))
        received = b""
        while received.count(b"data: ") < 5:
            received += await reader.read(65_536)
        sock = writer.get_extra_info("socket")
        if way == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if way == "half":
            writer.write_eof()
        else:
            writer.close()
        async with asyncio.timeout(120):
            await it.raw.ended.wait()
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, usage.input_tokens) == ("client_closed", "exact", 3)
        assert 4 <= usage.output_tokens <= 100
        writer.close()


async def test_client_that_reads_nothing_stops_vllm() -> None:
    """Back-pressure: of 200 MB, only what fits into sockets and buffers leaves vLLM."""
    big = event(1, b"x" * 65_536)

    async with proxy(lambda _got: [SSE, *[big] * 3200]) as it:
        _, writer = await it.connect()
        writer.write(post(CHAT, STREAM))
        sent = -1
        async with asyncio.timeout(120):
            while it.raw.sent != sent or sent == 0:
                sent = it.raw.sent
                await asyncio.sleep(0.5)
        assert 0 < sent < 40_000_000
        (client,) = it.traffic._lane.clients
        assert client._transport.get_write_buffer_size() < 2_000_000  # type: ignore[attr-defined]
        writer.transport.abort()
        assert (await it.settled()).outcome == "client_closed"


async def test_many_pipelined_requests() -> None:
    async with proxy(unary) as it:
        reader, writer = await it.connect()
        writer.write(post(CHAT, BODY) * 200)
        received = b""
        async with asyncio.timeout(120):
            while received.count(ANSWER) < 200:
                received += await reader.read(65_536)
        assert [response.status for response in responses(received)] == [200] * 200
        assert len(it.recorder.closes) == 200
        writer.close()


async def test_tls_is_refused_where_no_certificate_is_set() -> None:
    async with proxy(unary) as it:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with pytest.raises(ssl.SSLError, match="handshake failure"):
            await asyncio.open_connection("127.0.0.1", it.traffic.port, ssl=context)


async def test_a_large_body_goes_up() -> None:
    async with proxy(unary) as it:
        body = b'{"model":"tiny","messages":["' + b"x" * 8_000_000 + b'"]}'
        assert (await it.ask(post(CHAT, body))).status == 200
        assert len(it.raw.got[0].body) > 8_000_000


async def test_refused_large_body_gets_its_answer() -> None:
    """The client is still sending: it must get 413, not a reset."""
    async with proxy(unary, max_body=100_000) as it:
        assert (await it.ask(post(CHAT, b"x" * 5_000_000))).status == 413


async def test_what_takes_too_long() -> None:
    times = Timeouts(first_byte=0.4, idle=0.4, total=30, client_idle=0.4)

    def answer(got: Got) -> list[Piece]:
        return [SSE, event(7), 20.0] if b'"stream"' in got.body else [20.0]

    async with proxy(answer, timeouts=times) as it:
        assert (await it.ask(post(CHAT, BODY))).status == 504
        reader, writer = await it.connect()
        writer.write(post(CHAT, STREAM))
        received = b""
        while data := await reader.read(65_536):
            received += data
        assert not responses(received)[0].whole
        writer.close()
        assert [usage.outcome for usage in it.recorder.closes] == ["upstream_timeout"] * 2
        assert it.recorder.closes[1].output_tokens == 7
        reader, writer = await it.connect()
        writer.write(b"GET /health HT")
        assert await reader.read() == b""
        reader, silent = await it.connect()
        assert await reader.read() == b""
        for each in (writer, silent):
            each.close()


async def test_broken_answer_without_a_length_ends_in_a_reset() -> None:
    """Its end and its breaking off would look the same to the client otherwise."""

    def answer(_got: Got) -> list[Piece]:
        return [b"HTTP/1.1 200 OK\r\n\r\nabc", 20.0]

    async with proxy(answer, timeouts=Timeouts(idle=0.4)) as it:
        reader, writer = await it.connect()
        writer.write(get("/version"))
        assert (await reader.read(65_536)).endswith(b"abc")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_drain_lets_streams_end() -> None:
    def answer(_got: Got) -> list[Piece]:
        return [SSE, event(1), 0.5, event(2), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]

    async with proxy(answer) as it:
        asking = asyncio.create_task(it.ask(post(CHAT, STREAM)))
        while not it.raw.got:
            await asyncio.sleep(0.01)
        _, idle = await it.connect()
        await it.traffic.drain(10)
        await it.serving
        response = await asking
        assert response.body.endswith(b"data: [DONE]\n\n")
        assert it.recorder.closes[0].outcome == "completed"
        with pytest.raises(ConnectionRefusedError):
            await it.connect()
        idle.close()


async def test_drain_has_a_deadline() -> None:
    async with proxy(lambda _got: [SSE, event(4), 60.0]) as it:
        reader, writer = await it.connect()
        writer.write(post(CHAT, STREAM))
        await reader.readuntil(b"\n\n")
        await it.traffic.drain(0.2)
        await it.serving
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, usage.output_tokens) == ("proxy_lost", "estimated", 4)
        writer.close()


async def test_reload_looks_at_the_models() -> None:
    async with proxy(unary) as it:
        it.raw.models = b'{"data":[{"id":"other"}]}'
        it.traffic.reload()
        async with asyncio.timeout(120):
            while it.traffic.model != "other":
                await asyncio.sleep(0.01)


def test_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", taken.getsockname()[1], reuse_port=False)


async def test_openai_sdk() -> None:
    """OpenAI's own client, with nothing but its base URL and key changed."""

    def answer(got: Got) -> list[Piece]:
        if b'"stream":true' in got.body:
            return [recorded.load("chat_stream_continuous_usage").wire()]
        return [recorded.load("chat_unary").wire()]

    async with proxy(answer) as it:
        client = openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{it.traffic.port}/v1", api_key=KEY.decode(), max_retries=0
        )
        whole = await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}])
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 12
        text = ""
        async for part in await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], stream=True
        ):
            assert part.usage is None
            text += part.choices[0].delta.content or ""
        assert text == whole.choices[0].message.content
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="wrong").models.list()
        with pytest.raises(openai.NotFoundError):
            await client.fine_tuning.jobs.list()
        await client.close()
        assert [usage.output_tokens for usage in it.recorder.closes] == [12, 12]
        assert (await it.ask(get("/v1/models"))).body == it.raw.models
