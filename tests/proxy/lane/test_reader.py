"""What is read as a request, at every byte boundary, and what is refused because two parsers might read it differently."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.lane.pending import Pending
from proxy.lane.reader import RequestReader
from tests.proxy.memory import get, post

HOST = b"Host: a\r\n"


def read(data: bytes, *, head: int = 4096, body: int = 1000) -> RequestReader:
    reader = RequestReader(head, body, "192.0.2.7")
    reader.feed(data)
    return reader


def essence(pending: Pending) -> tuple[object, ...]:
    arrival = pending.arrival
    return arrival.head.method, arrival.head.target, arrival.head.headers, arrival.body, arrival.size, pending.keep


CHUNKED = (
    b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
)
STREAM = post("/a", b"hello") + get("/b?x=1") + CHUNKED + get("/d", b"Connection: close")


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_boundaries_mean_nothing(cuts: list[int]) -> None:
    reader = RequestReader(4096, 1000, None)
    bounds = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(bounds):
        reader.feed(STREAM[start:end])
    assert reader.broken is None
    assert [essence(one) for one in reader.queue] == [essence(one) for one in read(STREAM).queue]


def test_what_is_read() -> None:
    first, second, third, fourth = (one.arrival for one in read(STREAM).queue)
    assert (first.head.method, first.head.target, first.body) == ("POST", b"/a", b"hello")
    assert (second.head.method, second.head.target, second.body) == ("GET", b"/b?x=1", b"")
    assert (third.body, dict(third.head.headers)) == (b"abcde", {b"Host": b"a", b"Transfer-Encoding": b"chunked"})
    assert fourth.head.target == b"/d"
    assert first.head.client_address == "192.0.2.7"
    assert [one.keep for one in read(STREAM).queue] == [True, True, True, False]


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length : 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 18446744073709551619\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
        b"POST / HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"X: a\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"X: a\rContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET /\r\n\r\n",
        b"CONNECT other:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"\x00\x01\x02\r\n\r\n",
    ],
)
def test_ambiguous_is_refused(request_: bytes) -> None:
    reader = read(request_)
    assert not reader.queue
    assert reader.broken is not None
    assert reader.broken[0] == "invalid_request"


def test_an_offered_upgrade_is_declined() -> None:
    """`curl --http2` offers h2c with its request; the request counts, with its body."""
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ")
    reader = read(post("/a", b"hello", *offer) + get("/b"))
    first, second = (one.arrival for one in reader.queue)
    assert (first.head.target, first.body, second.head.target) == (b"/a", b"hello", b"/b")
    assert b"Upgrade" not in dict(first.head.headers)


def test_large_heads_are_refused() -> None:
    many = read(b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n")
    assert many.broken is not None
    assert many.broken[0] == "headers_too_large"
    endless = RequestReader(4096, 1000, None)
    endless.feed(b"GET / HTTP/1.1\r\nX: ")
    for _ in range(50):
        endless.feed(b"a" * 100)
    assert endless.broken is not None
    assert endless.broken[0] == "headers_too_large"


def test_the_beginning_of_a_head_after_a_large_request_is_no_large_head() -> None:
    reader = read(post("/a", b"x" * 900) + post("/b", b"y" * 900) + get("/c")[:20], head=1000)
    assert reader.broken is None
    reader.feed(get("/c")[20:])
    assert [pending.arrival.head.target for pending in reader.queue] == [b"/a", b"/b", b"/c"]


@pytest.mark.parametrize("framing", [b"Content-Length: 1001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_large_bodies_are_refused(framing: bytes) -> None:
    chunks = b"".join(b"64\r\n" + b"x" * 100 + b"\r\n" for _ in range(11)) if b"chunked" in framing else b""
    reader = read(b"POST / HTTP/1.1\r\n" + HOST + framing + chunks)
    assert reader.broken is not None
    assert reader.broken[0] == "request_too_large"
    assert isinstance(reader._body, list)
    assert sum(map(len, reader._body)) <= 1100


def test_expectation_is_seen_until_the_body_comes() -> None:
    reader = RequestReader(4096, 1000, None)
    request = post("/a", b"hello", b"Expect: 100-continue")
    reader.feed(request[:-5])
    assert (reader.expects, len(reader.queue)) == (True, 0)
    reader.feed(b"hello")
    assert (reader.expects, len(reader.queue)) == (False, 1)
