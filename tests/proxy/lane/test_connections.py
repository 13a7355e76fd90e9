"""A connection of a client over several requests: order, back-pressure, expectations, and how it ends."""

import resource

import pytest

from proxy.lane.front import Front
from proxy.lane.lane import RESERVED_FILES, most_clients
from proxy.ports import Refusal
from tests.proxy.lane.talk import ANSWER, BODY, CHAT, error, ok
from tests.proxy.memory import Bench, MemoryTransport, get, post, responses


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


def test_draining_closes_behind_an_answer_that_had_begun() -> None:
    """Its head promised to keep the connection; a client that keeps its end open would hold up the whole drain."""
    bench = Bench()
    bench.send(post(CHAT, BODY))
    bench.answer(ok()[:-1])
    bench.lane.draining = True
    for client in list(bench.lane.clients):
        client.retire()
    assert not bench.client.ended
    bench.answer(ok()[-1:])
    (response,) = responses(bench.client.take())
    assert (response.body, response.header("connection")) == (ANSWER, None)
    assert bench.client.ended


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


def test_who_finds_no_files_left_is_turned_away_and_nobody_else() -> None:
    bench = Bench()
    bench.lane.room = 2
    transports = [MemoryTransport() for _ in range(3)]
    fronts = [Front(bench.lane, None, lambda *_: None) for _ in transports]
    for front, transport in zip(fronts, transports, strict=True):
        front.connection_made(transport)  # type: ignore[arg-type]
    assert [transport.aborted for transport in transports] == [False, True, True], "the bench's own client is the first"
    fronts[1].connection_lost(None)
    fronts[0].connection_lost(None)
    again = MemoryTransport()
    Front(bench.lane, None, lambda *_: None).connection_made(again)  # type: ignore[arg-type]
    assert not again.aborted


@pytest.mark.parametrize(
    ("files", "clients"),
    [(RESERVED_FILES + 2000, 1000), (RESERVED_FILES, 1), (10, 1), (resource.RLIM_INFINITY, 1 << 20)],
)
def test_a_client_takes_two_files(monkeypatch: pytest.MonkeyPatch, files: int, clients: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert most_clients() == clients
