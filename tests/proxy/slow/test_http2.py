"""HTTP/2 by prior knowledge: the same answers, records and manners as in the fast lane."""

import asyncio
import shutil
import subprocess
from typing import Any

import httpx
import msgspec
import pytest
from h2.errors import ErrorCodes

from proxy.config import Timeouts
from proxy.ports import Principal
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import get, post
from tests.proxy.serving import ANSWER, BODY, CHAT, SSE, STREAM, Proxy, chunk, event, proxy, unary
from tests.proxy.slow.h2client import client
from tests.proxy.upstream import Got, Piece, plain

END = [chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]


def slowly(_got: Got) -> list[Piece]:
    return [SSE, *[piece for n in range(1, 500) for piece in (event(n), 0.02)], *END]


async def emptied(it: Proxy) -> None:
    """Wait until the proxy has forgotten all connections."""
    async with asyncio.timeout(20):
        while it.clients:
            await asyncio.sleep(0.01)


async def test_a_request() -> None:
    async with proxy(unary) as it:
        async with client(it.traffic.port) as h2:
            answer = await h2.answer(h2.ask(body=BODY))
        assert (answer.status, answer.body, answer.whole) == (200, ANSWER, True)
        assert answer.fields[b"x-request-id"] == b"req_000001"
        usage = await it.settled()
        assert (usage.tenant, usage.input_tokens, usage.output_tokens) == ("ten_search", 3, 2)
        assert (usage.outcome, usage.accuracy, usage.client_address) == ("completed", "exact", "127.0.0.1")
        assert KEY not in it.raw.got[0].head
        assert b"authorization: Bearer key-of-vllm" in it.raw.got[0].head
        await emptied(it)


async def test_vllm_gets_and_the_client_gets_what_they_get_over_http_1() -> None:
    """Byte for byte: the request's lines and body, the answer's fields and body."""

    def answer(got: Got) -> list[Piece]:
        if b'"stream":true' not in got.body:
            return [plain(ANSWER, b"x-extra: 1")]
        return [SSE, event(1), event(2, b"\xc3\xa4"), *END]

    async with proxy(answer) as it, client(it.traffic.port) as h2:
        for body in (BODY, STREAM, b'{"model":"tiny","stream":true,"stream_options":{"include_usage":true}}'):
            one = await it.ask(post(CHAT, body, b"X-Kept: 1", b"X-Data-Parallel-Rank: 3"))
            two = await h2.answer(h2.ask(CHAT.encode(), body, (b"x-kept", b"1"), (b"x-data-parallel-rank", b"3")))
            assert two.body == one.body
            first, second = it.raw.got[-2:]
            assert second.body == first.body
            ours = {line.lower().split(b"x-request-id")[0] for line in first.head.split(b"\r\n")}
            assert {line.lower().split(b"x-request-id")[0] for line in second.head.split(b"\r\n")} == ours
            assert b"usage" not in two.body or b"include_usage" in body or body == BODY
            expected = {name.lower() for name, _ in one.headers} - {b"transfer-encoding"}
            assert set(two.fields) == expected
        closes = it.recorder.closes
        assert [usage.output_tokens for usage in closes] == [2, 2, 2, 2, 2, 2]
        assert [usage.response_bytes for usage in closes[::2]] == [usage.response_bytes for usage in closes[1::2]]


async def test_many_streams_at_once() -> None:
    def answer(_got: Got) -> list[Piece]:
        return [SSE, event(1), 0.05, event(2), 0.05, *END]

    async with proxy(answer) as it, client(it.traffic.port) as h2:
        numbers = [h2.ask(body=STREAM) for _ in range(50)]
        answers = [await h2.answer(number) for number in numbers]
        assert all(each.whole and each.body.endswith(b"[DONE]\n\n") for each in answers)
        assert {usage.output_tokens for usage in it.recorder.closes} == {2}
        assert len(it.recorder.closes) == 50


async def test_a_stream_comes_piece_by_piece() -> None:
    async with proxy(slowly) as it, client(it.traffic.port) as h2:
        number = h2.ask(body=STREAM)
        first = await h2.got(number, 1)
        assert not h2.streams[number].ended.is_set()
        assert await h2.got(number, len(first) + 500) != first


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
        async with asyncio.timeout(5):
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
        async with asyncio.timeout(60):
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


async def test_refusals_have_our_shape() -> None:
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"body": BODY, "key": None}, 401, "invalid_api_key"),
        ({"body": BODY, "path": b"/v1/unknown"}, 404, "unknown_endpoint"),
        ({"path": b"/v1/chat/completions", "method": b"GET"}, 405, "method_not_allowed"),
        ({"body": b"{", "path": b"/v1/chat/completions"}, 400, "invalid_json"),
        ({"body": BODY, "path": b"/v1/chat completions"}, 400, "invalid_request"),
        ({"body": BODY, "path": b"/v1/chat\r\nx: y"}, 400, "invalid_request"),
        ({"body": BODY, "path": b"*"}, 400, "invalid_request"),
        ({"path": b"/v1/realtime", "method": b"WEBSOCKET"}, 400, "invalid_request"),
        ({"path": b"/v1/realtime", "method": b"GET"}, 405, "method_not_allowed"),
    ]
    async with proxy(unary) as it, client(it.traffic.port) as h2:
        for request, status, code in cases:
            answer = await h2.answer(h2.ask(**request))
            assert (answer.status, msgspec.json.decode(answer.body)["error"]["code"]) == (status, code), request
            assert int(answer.fields[b"content-length"]) == len(answer.body)
        for field in (
            (b"x-a", b"1\r\nx-b: 2"),
            (b"x-a", b"1\nx"),
            (b"x-a", b"\x00"),
            (b"x a", b"1"),
            (b"x-api-key:", b""),
        ):
            answer = await h2.answer(h2.ask(CHAT.encode(), BODY, field))
            assert answer.status == 400, field
        twice = await h2.answer(h2.ask(CHAT.encode(), BODY, (b"authorization", b"Bearer other")))
        assert twice.status == 400
        assert (await h2.answer(h2.ask(CHAT.encode(), BODY, (b"x-big", b"x" * 70_000)))).status == 431
        assert not it.raw.got
        assert {decision.decision for decision in it.recorder.decisions} == {"denied"}
        assert len(it.recorder.decisions) == len(cases) + 7


async def test_a_body_that_is_too_large_is_not_read_to_its_end() -> None:
    async with proxy(unary, max_body=50_000) as it, client(it.traffic.port) as h2:
        answer = await h2.answer(h2.ask(CHAT.encode(), None, (b"content-length", b"50001"), end=False))
        assert answer.status == 413
        number = h2.ask(end=False)
        for _ in range(4):
            h2.h2.send_data(number, b"x" * 15_000)
        h2.flush()
        answer = await h2.answer(number)
        assert (answer.status, answer.whole) == (413, True)
        assert (await h2.answer(h2.ask(body=BODY))).status == 200
        (layer,) = [each.serving for each in it.traffic._lane.clients]  # type: ignore[attr-defined]
        assert (layer._uploads, layer._requests, layer._http.streams) == ({}, {}, {})


async def test_uploads_share_a_limit() -> None:
    """Four times the largest body may be under way; what goes over is refused, the rest is served."""
    async with proxy(unary, max_body=10_000) as it, client(it.traffic.port) as h2:
        padded = BODY[:-1] + b" " * 9_000 + b"}"
        numbers = [h2.ask(end=False) for _ in range(5)]
        for number in numbers:
            h2.h2.send_data(number, padded)
            h2.flush()
        assert (await h2.answer(numbers[4])).status == 413
        for number in numbers[:4]:
            h2.h2.end_stream(number)
        h2.flush()
        assert [(await h2.answer(number)).status for number in numbers[:4]] == [200] * 4


async def test_head_and_free_paths() -> None:
    async with (
        proxy(lambda _got: [b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"]) as it,
        client(it.traffic.port) as h2,
    ):
        answer = await h2.answer(h2.ask(b"/health", method=b"HEAD", key=None))
        assert (answer.status, answer.body, answer.fields[b"content-length"]) == (200, b"", b"12")
        assert not it.recorder.decisions


@pytest.mark.parametrize(
    ("path", "key", "fields", "status"),
    [
        (b"/v1/models", b"wrong", (), 401),
        (b"/nothing", KEY, (), 404),
        (b"/v1/chat/completions", KEY, (), 405),
        (b"/version", KEY, ((b"x", b"y" * 70_000),), 431),
        (b"/v1/models", b"of few models", (), 200),
    ],
)
async def test_an_answer_of_ours_to_head_has_no_body(
    path: bytes, key: bytes, fields: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    async with proxy(unary) as it, client(it.traffic.port) as h2:
        few = msgspec.structs.replace(KEY_RECORD, models=("tiny",))
        it.directory.known[b"of few models"] = Principal(few, {})
        answer = await h2.answer(h2.ask(path, None, *fields, method=b"HEAD", key=key))
        assert (answer.status, answer.body) == (status, b"")
        assert int(answer.fields[b"content-length"]) > 0
        assert answer.fields[b"content-type"] == b"application/json"


@pytest.mark.parametrize(
    "answer",
    [
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", plain(ANSWER)],
        [b"HTTP/1.1 100 Continue\r\n\r\n", plain(ANSWER)],
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n",
            chunk(ANSWER),
            b"0\r\nX-T: 1\r\n\r\n",
        ],
        [b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER, None],
    ],
    ids=["early hints", "continue", "trailers", "until the end"],
)
async def test_framings(answer: list[Piece]) -> None:
    async with proxy(lambda _got: answer) as it, client(it.traffic.port) as h2:
        received = await h2.answer(h2.ask(CHAT.encode(), BODY, (b"expect", b"100-continue")))
        assert (received.status, received.body, received.whole) == (200, ANSWER, True)
        assert not received.fields.keys() & {b"transfer-encoding", b"trailer", b"link", b"connection"}
        assert b"expect" not in it.raw.got[0].head.lower()
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, usage.output_tokens) == ("completed", "exact", 2)


async def test_a_preflight() -> None:
    allowed = plain(b"OK", b"access-control-allow-origin: *")
    wants = ((b"origin", b"https://page.example"), (b"access-control-request-method", b"POST"))
    async with proxy(lambda _got: [allowed]) as it, client(it.traffic.port) as h2:
        answer = await h2.answer(h2.ask(CHAT.encode(), None, *wants, method=b"OPTIONS", key=None))
        assert (answer.status, answer.body, answer.fields[b"access-control-allow-origin"]) == (200, b"OK", b"*")
        answer = await h2.answer(h2.ask(CHAT.encode(), BODY, wants[0], key=None))
        assert (answer.status, answer.fields[b"access-control-allow-origin"]) == (401, b"*")
        assert [decision.status for decision in it.recorder.decisions] == [401]


async def test_keys_that_must_be_looked_up() -> None:
    async with proxy(unary) as it, client(it.traffic.port) as h2:
        it.directory.distant[b"far"] = Principal(KEY_RECORD, {})
        assert (await h2.answer(h2.ask(body=BODY, key=b"far"))).status == 200
        assert (await h2.answer(h2.ask(body=BODY, key=b"wrong"))).status == 401


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
        async with asyncio.timeout(20):  # nothing runs any more
            await h2.closed.wait()
        assert h2.goodbye is not None
        assert h2.goodbye.error_code == ErrorCodes.NO_ERROR
        await emptied(it)


async def test_long_streams_are_recorded_on_the_way() -> None:
    async with proxy(slowly, progress_interval=0.1) as it, client(it.traffic.port) as h2:
        h2.ask(body=STREAM)
        async with asyncio.timeout(20):
            while len(it.recorder.progress) < 2:
                await asyncio.sleep(0.01)
        first, second = (draft.output_tokens for draft in it.recorder.progress[:2])
        assert first is not None
        assert second is not None
        assert 0 < first < second


async def test_drain_lets_streams_end() -> None:
    def answer(_got: Got) -> list[Piece]:
        return [SSE, event(1), 0.6, event(2), *END]

    async with proxy(answer) as it, client(it.traffic.port) as h2, client(it.traffic.port) as idle:
        number = h2.ask(body=STREAM)
        await h2.got(number, 1)
        draining = asyncio.create_task(it.traffic.drain(10))
        async with asyncio.timeout(5):
            await idle.closed.wait()
            refused = await h2.answer(h2.ask(body=BODY))
        assert refused.reset == ErrorCodes.REFUSED_STREAM
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
        async with asyncio.timeout(20):
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
        async with asyncio.timeout(20):
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
        async with asyncio.timeout(20):
            await h2.closed.wait()
        assert (await it.settled()).outcome == "proxy_lost"
        await emptied(it)


async def test_httpx() -> None:
    async with (
        proxy(unary) as it,
        httpx.AsyncClient(http1=False, http2=True, base_url=f"http://127.0.0.1:{it.traffic.port}") as client_of_httpx,
    ):
        headers = {"authorization": f"Bearer {KEY.decode()}"}
        answer = await client_of_httpx.post(CHAT, content=BODY, headers=headers)
        assert (answer.status_code, answer.content, answer.http_version) == (200, ANSWER, "HTTP/2")


async def test_curl() -> None:
    curl = shutil.which("curl")
    assert curl is not None, "these tests need curl"
    async with proxy(unary) as it:
        url = f"http://127.0.0.1:{it.traffic.port}{CHAT}"
        words = [curl, "-sS", "--http2-prior-knowledge", "-w", "%{http_version}", "-d", BODY.decode(), url]
        done = await asyncio.to_thread(
            subprocess.run, [*words, "-H", f"Authorization: Bearer {KEY.decode()}"], capture_output=True, check=True
        )
        assert done.stdout == ANSWER + b"2"
