"""What vLLM gets and what the client gets, byte for byte, without sockets."""

import gzip

import msgspec
import pytest

from tests.proxy.fakes import KEY
from tests.proxy.lane.talk import ANSWER, BODY, CHAT, ok
from tests.proxy.memory import Bench, get, post, responses


def test_the_request_is_rebuilt() -> None:
    bench = Bench()
    fields = (
        b"X-Custom: Kept",
        b"x-api-key: other",
        b"X-Request-Id: mine",
        b"X-Data-Parallel-Rank: 3",
        b"X-Weighbridge-Tags: a=b",
        b"Accept-Encoding: gzip",
        b"Connection: X-Hop",
        b"X-Hop: 1",
        b"TE: trailers",
        b"traceparent: 00-1-2-01",
    )
    bench.send(post(CHAT, BODY, *fields))
    head, _, body = bytes(bench.upstream.written).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: llm.example",
        b"Content-Type: application/json",
        b"X-Custom: Kept",
        b"traceparent: 00-1-2-01",
        b"authorization: Bearer key-of-vllm",
        b"x-request-id: req_000001",
        b"content-length: %d" % len(body),
    ]
    assert KEY not in bytes(bench.upstream.written)
    assert msgspec.json.decode(body)["model"] == "tiny"


def test_without_a_key_of_its_own_vllm_gets_none() -> None:
    bench = Bench(upstream_api_key=None)
    bench.send(post(CHAT, BODY))
    assert b"uthorization" not in bytes(bench.upstream.written)


def test_order_and_case_of_fields_are_kept() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.answer(
        ok(ANSWER, b"X-B: 1", b"x-request-id: vllm", b"x-a: 2", b"Keep-Alive: timeout=5", b"Connection: keep-alive")
    )
    head = bench.client.take().partition(b"\r\n\r\n")[0]
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: application/json",
        b"X-B: 1",
        b"x-a: 2",
        b"Content-Length: %d" % len(ANSWER),
        b"x-request-id: req_000001",
    ]


def test_the_usage_is_recorded_before_the_last_byte() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY))
    assert len(bench.recorder.opens) == 1
    whole = ok()
    bench.answer(whole[:-1])
    assert not bench.recorder.closes
    sent = len(bench.client.written)
    bench.answer(whole[-1:])
    assert bench.usage.output_tokens == 2
    assert len(bench.client.written) == sent + 1


def test_a_stream_is_settled_before_done_goes_out() -> None:
    """An SDK leaves at `[DONE]`, before the last chunk: that is no abort."""
    bench = Bench()
    bench.send(post(CHAT, b'{"model":"tiny","stream":true}'))
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    event = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
    bench.answer(b"%x\r\n%b\r\n" % (len(event), event))
    assert bench.client.take().endswith(b"data: [DONE]\n\n\r\n")
    bench.client.lose()
    assert (bench.usage.outcome, bench.usage.input_tokens) == ("completed", 3)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", b""),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"a"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"a"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_framings(answer: bytes, body: bytes) -> None:
    """Each at every cut; the connection serves another request after it."""
    for cut in range(1, len(answer)):
        bench = Bench()
        bench.send(get("/version"))
        bench.answer(answer[:cut], answer[cut:])
        received = bench.client.take()
        (response,) = responses(received, method="GET")
        assert (response.body, response.whole) == (body, True)
        assert (b"HTTP/1.1 103" in received) == (b"103" in answer)
        assert (b"X-T: 1" in received) == (b"X-T: 1" in answer)
        bench.upstream.take()
        bench.send(get("/version"))
        assert b"GET /version HTTP/1.1" in bytes(bench.upstream.written)


def test_an_answer_that_ends_with_its_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + ANSWER
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.answer(answer[:40], answer[40:])
    assert not bench.recorder.closes
    bench.upstream.lose()
    (response,) = responses(bench.client.take(), closed=True)
    assert (response.body, response.header("connection")) == (ANSWER, "close")
    assert bench.client.ended
    assert bench.usage.output_tokens == 2


def test_a_compressed_answer_of_a_free_path() -> None:
    packed = gzip.compress(b'{"version":"0.32.0"}')
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    for cut in range(1, len(answer)):
        bench = Bench()
        bench.send(get("/version", b"Accept-Encoding: gzip"))
        assert b"\r\nAccept-Encoding: gzip\r\n" in bench.upstream.take()
        bench.answer(answer[:cut], answer[cut:])
        (response,) = responses(bench.client.take(), method="GET")
        assert (response.body, response.header("content-encoding")) == (packed, "gzip")


def test_a_compressed_answer_that_nobody_asked_for_is_passed_and_its_usage_unknown() -> None:
    packed = gzip.compress(ANSWER)
    bench = Bench()
    bench.send(post(CHAT, BODY, b"Accept-Encoding: gzip"))
    assert b"ccept-" not in bench.upstream.take()
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)
    assert responses(bench.client.take())[0].body == packed
    usage = bench.usage
    assert (usage.outcome, usage.accuracy, usage.input_tokens) == ("completed", "unknown", None)


def test_head_requests() -> None:
    bench = Bench()
    bench.send(get("/version").replace(b"GET", b"HEAD", 1))
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
    assert bench.client.take().endswith(b"Content-Length: 20\r\nx-request-id: req_000001\r\n\r\n")
    bench.send(get("/nothing").replace(b"GET", b"HEAD", 1))
    received = bench.client.take()
    assert b"content-length: " in received
    assert received.endswith(b"\r\n\r\n")


def test_http_1_0_gets_no_chunks() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY, version=b"1.0"))
    bench.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    received = bench.client.take()
    assert received.endswith(b"\r\n\r\nabc")
    assert b"ransfer" not in received
    assert bench.client.ended
