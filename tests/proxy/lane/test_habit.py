"""Heads that are recognised and not parsed again: whatever is sent, it means what a parser that never saw it before reads."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lane.habit import Habit
from proxy.lane.reader import RequestReader
from tests.proxy.memory import Bench, post, responses

HEADS = (
    b"POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nX-Name: v\r\n\r\n",
    b"POST /v1/a HTTP/1.1\r\nHost: a\r\ncontent-length:%d\r\n\r\n",
    b"\r\nPOST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
    b"POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d \r\n\r\n",
    b"POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 00%d\r\n\r\n",
    b"POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
    b"POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
    b"POST /v1/a HTTP/1.0\r\nHost: a\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n",
    b"POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /v1/b HTTP/1.1\r\nHost: a\r\nX-Name: Content-Length: 3\r\nContent-Length: %d\r\n\r\n",
)
BODY = st.sampled_from([b"", b"abc", b"\r\n\r\n", b"0\r\n\r\n", b"hello\r\n", b"POST / HTTP/1.1\r\n", b"x" * 30])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A request as it should be, or one whose length, body or surroundings are not."""
    body = draw(BODY)
    length = max(0, len(body) + draw(st.sampled_from([0, 0, 0, 0, -2, 1, 100_000_000])))
    return draw(st.sampled_from(HEADS)) % length + body + draw(st.sampled_from([b"", b"", b"", b"\r\n", b"G"]))


def meant(reader: RequestReader) -> list[tuple[object, ...]]:
    """What was read; of `content-length` the head may have an earlier one's."""
    found: list[tuple[object, ...]] = []
    for pending in reader.queue:
        arrival, head = pending.arrival, pending.arrival.head
        fields = [field for field in head.headers if field[0].lower() != b"content-length"]
        length = [field[0] for field in head.headers if field[0].lower() == b"content-length"]
        found.append((head.method, head.target, fields, length, arrival.body, arrival.size, pending.keep, pending.old))
    return found


@given(st.lists(messages(), max_size=7), st.lists(st.integers(0, 6), max_size=4))
def test_what_is_recognised_means_what_a_parser_reads(sent: list[bytes], again: list[int]) -> None:
    """Each piece arrives by itself; some several times in a row, so that a habit forms."""
    pieces = [piece for place, piece in enumerate(sent) for _ in range(3 if place in again else 1)]
    reader, parser = RequestReader(4096, 1000, None), RequestReader(4096, 1000, None)
    for piece in pieces:
        reader.feed(piece)
        parser._known = None  # it recognises nothing
        parser.feed(piece)
        assert (reader.broken is None) == (parser.broken is None), piece
        assert reader.expects == parser.expects
        if reader.broken is None:
            assert meant(reader) == meant(parser)


def test_the_third_request_of_a_connection_is_not_parsed() -> None:
    reader = RequestReader(4096, 1000, None)
    reader.feed(HEADS[0] % 3 + b"abc")
    reader.feed(HEADS[0] % 3 + b"abc")
    reader._parser = cast(Any, None)  # whoever used it would fail
    reader.feed(HEADS[0] % 12 + b"x" * 12)
    first, second, third = (pending.arrival for pending in reader.queue)
    assert (third.body, third.size) == (b"x" * 12, second.size + 10)
    assert third.head is second.head
    assert first.head is not second.head, "the first one is not remembered: most connections bring no other"


def test_what_never_comes_again_is_soon_not_learnt() -> None:
    habit = Habit()
    learnt = [habit.learn(b"GET /%d HTTP/1.1\r\nContent-Length: 0\r\n\r\n" % number, 0) for number in range(640)]
    assert learnt.count(b"0") == 8 + 10
    assert habit.learn(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0) is None


JSON = b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n%b"
ANSWERS = [b'{"id":"c","usage":{"prompt_tokens":3,"completion_tokens":2}}', b"{}", b'{"usage":{"prompt_tokens":1}}']
REQUEST = post("/v1/chat/completions", b'{"model":"tiny","messages":[]}')


@pytest.mark.parametrize(
    "before", [b"", b"Connection: keep-alive\r\nX-Request-ID: theirs\r\nKeep-Alive: 5\r\n", b"X-Two: a\r\nX-Two: b\r\n"]
)
def test_answers_are_the_same_whether_recognised_or_not(before: bytes) -> None:
    """One bench sees all answers on one connection, the other a fresh one each time."""
    habitual = Bench()
    for number, body in enumerate(ANSWERS * 3):
        seen = []
        for bench in (habitual, Bench()):
            bench.send(REQUEST)
            bench.answer(JSON.replace(b"Date", before + b"Date") % (b"now" if number < 7 else b"then", len(body), body))
            (response,) = responses(bench.client.take())
            fields = [field for field in response.headers if field[0] != b"x-request-id"]
            usage = (bench.usage.input_tokens, bench.usage.response_bytes, bench.usage.accuracy)
            seen.append((response.status, fields, response.body, response.whole, usage))
            bench.forget()
        assert seen[0] == seen[1]
        assert habitual.lane.pool.known is not None


@pytest.mark.parametrize(
    "answer",
    [
        JSON.replace(b"Date", b"Connection: close\r\nDate") % (b"now", 2, b"{}"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + JSON % (b"now", 2, b"{}"),
        JSON % (b"now", 2, b"{}\r\n"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_not_one_whole_answer_with_a_length_is_not_learnt(answer: bytes) -> None:
    bench = Bench()
    bench.send(REQUEST)
    bench.answer(answer)
    assert bench.lane.pool.known is None


def test_the_third_answer_is_not_parsed() -> None:
    bench = Bench()
    for body in ANSWERS:
        bench.send(REQUEST)
        if body is ANSWERS[2]:
            bench.upstream.protocol._parser = None  # whoever used it would fail
        bench.answer(JSON % (b"now", len(body), body))
        (response,) = responses(bench.client.take())
        assert (response.body, response.header("content-length")) == (body, str(len(body)))
    assert [usage.input_tokens for usage in bench.recorder.closes] == [3, None, 1]
