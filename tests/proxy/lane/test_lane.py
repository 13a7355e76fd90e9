"""The lane, byte for byte, without sockets."""

import gzip
import logging
import time

import msgspec
import pytest

from contracts.projection import KeyRecord
from proxy.models import Catalog, Served
from proxy.ports import Principal, Refusal
from tests.proxy.fakes import KEY
from tests.proxy.memory import Bench, get, post, responses

CHAT = "/v1/chat/completions"
BODY = b'{"model":"tiny","messages":[]}'
ANSWER = b'{"id":"chatcmpl-1","model":"tiny","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'


def ok(body: bytes = ANSWER, *fields: bytes) -> bytes:
    return b"\r\n".join(
        [b"HTTP/1.1 200 OK", b"Content-Type: application/json", *fields, b"Content-Length: %d" % len(body), b"", body]
    )


def error(bench: Bench) -> tuple[int, str]:
    (response,) = responses(bench.client.take(), closed=True)
    assert response.header("x-request-id") is not None
    body = msgspec.json.decode(response.body)["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return response.status, body["code"]


# -- what vLLM gets ----------------------------------------------------------------------------------------------------


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
        b"x-request-id: req_000001",
        b"authorization: Bearer key-of-vllm",
        b"content-length: %d" % len(body),
    ]
    assert KEY not in bytes(bench.upstream.written)
    assert msgspec.json.decode(body)["model"] == "tiny"


def test_without_a_key_of_its_own_vllm_gets_none() -> None:
    bench = Bench(upstream_api_key=None)
    bench.send(post(CHAT, BODY))
    assert b"uthorization" not in bytes(bench.upstream.written)


# -- what the client gets ----------------------------------------------------------------------------------------------


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


def test_connection_close_is_echoed() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY, b"Connection: close"))
    bench.answer(ok())
    (response,) = responses(bench.client.take())
    assert response.header("connection") == "close"
    assert bench.client.ended


def test_expect_is_answered_here() -> None:
    bench = Bench()
    request = post(CHAT, BODY, b"Expect: 100-continue")
    bench.send(request[: -len(BODY)])
    assert bench.client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    bench.send(BODY)
    assert b"xpect" not in bytes(bench.upstream.written)
    bench.answer(ok())
    assert responses(bench.client.take())[0].body == ANSWER


def test_who_expects_and_would_be_refused_sends_no_body() -> None:
    bench = Bench(max_body=10)
    bench.send(post(CHAT, BODY, b"Expect: 100-continue")[: -len(BODY)])
    assert b"HTTP/1.1 100" not in bench.client.written
    assert error(bench) == (413, "request_too_large")
    assert bench.client.ended


def test_pipelined_requests_are_answered_in_order() -> None:
    bench = Bench()
    bench.directory.known[b"wrong"] = Refusal("invalid_api_key", "No.")
    bench.send(post(CHAT, BODY) + get("/nothing") + post(CHAT, BODY, key=b"wrong") + post(CHAT, BODY))
    assert bench.client.take() == b""
    bench.answer(ok(b'{"id":"1"}'))
    first, second, third = responses(bench.client.take())
    assert (first.body, second.status, third.status) == (b'{"id":"1"}', 404, 401)
    bench.answer(ok(b'{"id":"2"}'))
    assert responses(bench.client.take())[0].body == b'{"id":"2"}'


def test_pipelining_is_bounded() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.send(post(CHAT, BODY[:-1] + b" " * 70_000 + b"}"))
    assert not bench.client.is_reading()
    bench.answer(ok())
    assert bench.client.is_reading()


# -- flow and ends -----------------------------------------------------------------------------------------------------


def test_a_slow_client_makes_vllm_wait() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.client.protocol.pause_writing()
    assert not bench.upstream.is_reading()
    bench.client.protocol.resume_writing()
    assert bench.upstream.is_reading()
    bench.client.protocol.pause_writing()
    bench.answer(ok())
    assert bench.upstream.is_reading()  # it is in the pool again
    bench.send(post(CHAT, BODY))
    assert not bench.upstream.is_reading()  # the client still does not read


def test_client_that_leaves_before_the_answer() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.client.lose()
    assert (bench.upstream.ended, bench.upstream.aborted) == (True, False)  # told, and free to say what it counted
    bench.upstream.lose()
    usage = bench.usage
    assert (usage.outcome, usage.status, usage.input_tokens, usage.accuracy) == ("client_closed", None, None, "unknown")


def test_an_answer_that_was_on_its_way_when_the_client_left_is_counted() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.client.lose()
    bench.answer(ok())
    assert bench.client.take() == b""
    usage = bench.usage
    assert (usage.outcome, usage.status, usage.accuracy) == ("client_closed", 200, "exact")
    assert usage.output_tokens is not None
    assert not bench.lane.clients
    assert bench.lane.pool.take() is None, "a connection that was hung up on serves nobody else"


@pytest.mark.parametrize(("error", "accuracy"), [(None, "exact"), (ConnectionResetError(), "estimated")])
def test_only_an_end_in_order_shows_that_all_was_read(error: Exception | None, accuracy: str) -> None:
    bench = Bench()
    bench.send(post(CHAT, b'{"model":"tiny","stream":true}'))
    event = b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    bench.answer(b"%x\r\n%b\r\n" % (len(event), event))
    bench.client.lose()
    bench.upstream.lose(error)
    assert (bench.usage.outcome, bench.usage.accuracy, bench.usage.output_tokens) == ("client_closed", accuracy, 2)


@pytest.mark.parametrize(("behind", "accuracy"), [(True, "estimated"), (False, "exact")])
def test_what_vllm_could_not_send_to_a_client_that_did_not_keep_up_is_not_known(behind: bool, accuracy: str) -> None:
    """The engine does not wait for its clients: what it generated meanwhile is dropped when one leaves, and never sent."""
    bench = Bench()
    bench.send(post(CHAT, b'{"model":"tiny","stream":true}'))
    event = b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    bench.answer(b"%x\r\n%b\r\n" % (len(event), event))
    bench.client.protocol.pause_writing()
    if not behind:
        bench.client.protocol.resume_writing()
    bench.client.lose()
    assert bench.upstream.is_reading()
    bench.upstream.lose()
    assert (bench.usage.outcome, bench.usage.accuracy, bench.usage.output_tokens) == ("client_closed", accuracy, 2)


def test_an_upstream_that_does_not_notice_is_cut() -> None:
    bench = Bench()
    bench.send(post(CHAT, b'{"model":"tiny","stream":true}'))
    event = b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event)
    bench.client.lose()
    (leftover,) = bench.lane.clients
    leftover.check(time.monotonic() + 29)
    assert not bench.recorder.closes
    leftover.check(time.monotonic() + 31)
    assert bench.upstream.aborted
    assert (bench.usage.outcome, bench.usage.accuracy, bench.usage.output_tokens) == ("client_closed", "estimated", 2)
    assert not bench.lane.clients


def test_upstream_that_breaks_off() -> None:
    """The client must see a broken answer, not a short one."""
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.answer(ok()[:-5])
    bench.upstream.lose()
    assert bench.client.aborted
    assert (bench.usage.outcome, bench.usage.accuracy) == ("upstream_error", "unknown")


def test_upstream_that_talks_nonsense() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.answer(b"SSH-2.0-x\r\n")
    assert error(bench) == (502, "upstream_unreachable")
    assert (bench.usage.outcome, bench.usage.status, bench.usage.error_code) == (
        "upstream_error",
        502,
        "upstream_unreachable",
    )


def test_bytes_that_nobody_asked_for() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.answer(ok() + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
    (response,) = responses(bench.client.take())
    assert response.body == ANSWER
    assert bench.upstream.closing
    assert bench.lane.pool.take() is None


def test_error_in_a_stream_is_an_upstream_error() -> None:
    bench = Bench()
    bench.send(post(CHAT, b'{"model":"tiny","stream":true}'))
    body = b'data: {"error": {"message": "boom"}}\n\ndata: [DONE]\n\n'
    bench.answer(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert responses(bench.client.take())[0].body == body
    assert (bench.usage.outcome, bench.usage.status, bench.usage.accuracy) == ("upstream_error", 200, "unknown")


@pytest.mark.parametrize(
    ("status", "outcome", "accuracy"), [(400, "completed", "exact"), (503, "upstream_error", "unknown")]
)
def test_errors_of_vllm_have_no_tokens(status: int, outcome: str, accuracy: str) -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.answer(ok().replace(b"200 OK", b"%d No" % status))
    assert responses(bench.client.take())[0].status == status
    usage = bench.usage
    assert (usage.status, usage.outcome, usage.accuracy, usage.input_tokens) == (status, outcome, accuracy, None)


def test_draining_lets_answers_end_and_closes() -> None:
    bench = Bench()
    idle = bench.connect()
    bench.send(post(CHAT, BODY))
    bench.lane.draining = True
    for client in list(bench.lane.clients):
        client.retire()
    assert (idle.closing, bench.client.closing) == (True, False)
    bench.answer(ok())
    (response,) = responses(bench.client.take())
    assert response.header("connection") == "close"
    assert bench.client.ended


def test_what_does_not_end_in_time_is_cut() -> None:
    bench = Bench()
    bench.send(post(CHAT, b'{"model":"tiny","stream":true}'))
    event = b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event)
    bench.client.protocol.cut()
    assert (bench.client.aborted, bench.upstream.aborted) == (True, True)
    assert (bench.usage.outcome, bench.usage.accuracy, bench.usage.output_tokens) == ("proxy_lost", "estimated", 2)


# -- times -------------------------------------------------------------------------------------------------------------


def test_first_byte_that_does_not_come(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    bench = Bench()
    bench.send(post(CHAT, BODY))
    sent = bench.client.protocol._running.sent
    bench.client.protocol.check(sent + 599)
    assert bench.client.take() == b""
    bench.client.protocol.check(sent + 601)
    assert error(bench) == (504, "upstream_timeout")
    assert bench.upstream.aborted
    assert (bench.usage.outcome, bench.usage.status) == ("upstream_timeout", 504)


@pytest.mark.parametrize("paused", [False, True])
def test_stream_that_stalls_and_client_that_does(paused: bool) -> None:
    """An upstream that is silent is cut; one that has to wait for the client is not."""
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.answer(ok()[:-1])
    sent = bench.client.protocol._running.sent
    if paused:
        bench.client.protocol.pause_writing()
    bench.client.protocol.check(sent + 1)
    bench.client.protocol.check(sent + 302)
    assert bench.client.aborted is not paused
    if not paused:
        assert bench.usage.outcome == "upstream_timeout"
    else:
        bench.client.protocol.check(sent + 3601)  # but not for ever
        assert bench.client.aborted


def test_progress_is_recorded() -> None:
    bench = Bench()
    bench.send(post(CHAT, b'{"model":"tiny","stream":true}'))
    event = b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":%d}}\n\n'
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event % 1)
    sent = bench.client.protocol._running.sent
    for second in (1, 4, 6, 7, 12):
        bench.answer(event % second)
        bench.client.protocol.check(sent + second)
    assert [draft.output_tokens for draft in bench.recorder.progress] == [6, 12]
    assert bench.recorder.progress[0].accuracy == "estimated"
    assert not bench.recorder.closes


def test_idle_clients_are_closed() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY)[:20])
    since = bench.client.protocol._since
    bench.client.protocol.check(since + 74)
    assert not bench.client.closing
    bench.client.protocol.check(since + 76)
    assert bench.client.closing


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (post(CHAT, BODY, key=None), (401, "invalid_api_key")),
        (post(CHAT, BODY, b"Authorization: Basic xyz", key=None), (401, "invalid_api_key")),
        (post("/v1/nothing", BODY), (404, "unknown_endpoint")),
        (post("/v1/chat/completions/", BODY), (404, "unknown_endpoint")),
        (post("//v1/chat/completions", BODY), (404, "unknown_endpoint")),
        (post("/v1/chat%2Fcompletions", BODY), (404, "unknown_endpoint")),
        (post("/metrics", BODY), (404, "unknown_endpoint")),
        (get(CHAT), (405, "method_not_allowed")),
        (post(CHAT, b'{"model":"tiny","messages":['), (400, "invalid_json")),
        (post(CHAT, b"[]"), (400, "invalid_json")),
        (post(CHAT, b""), (400, "invalid_json")),
        (post(CHAT, b'{"model":"a","model":"b"}'), (400, "invalid_json")),
        (post(CHAT, b'{"model":"\xff"}'), (400, "invalid_json")),
        (post(CHAT, b'{"a":' * 100_000), (400, "invalid_json")),
        (post(CHAT, b'{"model":7}'), (400, "invalid_request")),
        (post(CHAT, b'{"model":"tiny","stream":"yes"}'), (400, "invalid_request")),
        (b"GET / HTTP/1.1\nHost: a\n\n", (400, "invalid_request")),
        (post(CHAT, b"x" * 2_000_001), (413, "request_too_large")),
        (get("/version", b"X: " + b"y" * 70_000), (431, "headers_too_large")),
    ],
)
def test_refusals(request_: bytes, expected: tuple[int, str]) -> None:
    bench = Bench(max_body=2_000_000)
    for start in range(0, len(request_), 50_000):
        bench.send(request_[start : start + 50_000])
    assert error(bench) == expected
    assert bench.upstream.take() == b""
    (decision,) = bench.recorder.decisions
    assert (decision.decision, decision.status, decision.code) == ("denied", *expected)
    assert not bench.recorder.opens
    bench.lane.desk.flush_metrics()
    assert bench.registry.get_sample_value("weighbridge_denied_total", {"code": expected[1]}) == 1


def test_unauthorized_paths() -> None:
    bench = Bench()
    bench.send(get("/health", key=None))
    assert b"GET /health" in bench.upstream.take()
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert responses(bench.client.take(), method="GET")[0].status == 200
    bench.send(get("/v1/models", key=None))
    assert error(bench) == (401, "invalid_api_key")
    assert not bench.recorder.closes


def test_refused_key_is_recorded_with_its_owner() -> None:
    bench = Bench()
    record = KeyRecord(id="key_2", tenant="ten_b", models=("other",), revision=1)
    bench.directory.known[b"k2"] = Principal(record, {})
    bench.send(post(CHAT, BODY, key=b"k2"))
    assert error(bench) == (403, "model_not_allowed")
    (decision,) = bench.recorder.decisions
    assert (decision.tenant, decision.key, decision.model) == ("ten_b", "key_2", "tiny")


def test_a_full_spool_refuses() -> None:
    bench = Bench()
    bench.recorder.refusal = Refusal("spool_full", "The spool is full.")
    bench.send(post(CHAT, BODY))
    assert error(bench) == (503, "spool_full")
    assert not bench.recorder.opens
    assert [one.decision for one in bench.recorder.decisions] == ["denied"]


def test_model_that_is_not_served() -> None:
    bench = Bench()
    bench.lane.desk.house.models = Catalog(listed=True, by_name={"big": Served("big", "big")}, default="big")
    bench.lane.desk.models._looked_at = float("inf")
    bench.send(post(CHAT, BODY))
    assert error(bench) == (404, "model_not_found")


def test_garbage_after_a_request_ends_the_connection_behind_its_answer() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY) + b"\x00\x00garbage")
    bench.answer(ok())
    first, second = responses(bench.client.take())
    assert (first.status, second.status) == (200, 400)
    assert bench.client.ended


def test_nothing_is_left_behind() -> None:
    bench = Bench()
    for _ in range(3):
        bench.send(post(CHAT, BODY))
        assert bench.lane.desk.in_flight == 1
        bench.answer(ok())
        assert bench.lane.desk.in_flight == 0
    bench.client.lose()
    assert not bench.lane.clients
