"""Requests that do not end well: who left, who failed, who took too long, and what is recorded."""

import logging
import time

import pytest

from tests.proxy.lane.talk import ANSWER, BODY, CHAT, error, ok
from tests.proxy.memory import Bench, post, responses


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


def test_what_does_not_end_in_time_is_cut() -> None:
    bench = Bench()
    bench.send(post(CHAT, b'{"model":"tiny","stream":true}'))
    event = b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event)
    bench.client.protocol.cut()
    assert (bench.client.aborted, bench.upstream.aborted) == (True, True)
    assert (bench.usage.outcome, bench.usage.accuracy, bench.usage.output_tokens) == ("proxy_lost", "estimated", 2)


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
