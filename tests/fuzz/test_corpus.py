"""The harnesses over inputs that are always the same, and over what hypothesis makes of requests."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import bodies, heads, streams
from tests.proxy.memory import get, post


@pytest.mark.parametrize("data", heads.CORPUS)
def test_heads(data: bytes) -> None:
    heads.check(data)


@pytest.mark.parametrize("data", bodies.CORPUS)
def test_bodies(data: bytes) -> None:
    bodies.check(data)


@pytest.mark.parametrize("data", streams.CORPUS)
def test_streams(data: bytes) -> None:
    streams.check(data)


def test_the_corpus_is_read_and_not_only_refused() -> None:
    assert sum(len(heads.ours([data])[0]) for data in heads.CORPUS) >= 12
    assert heads.theirs(heads.CORPUS[0])[0] == heads.ours([heads.CORPUS[0]])[0][0]
    assert heads.theirs(post("/a", b"b") + get("/c"))[1].startswith(b"GET /c ")


NAMES = st.sampled_from(
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"X-A", b"TE"]
)
VALUES = st.sampled_from(
    [
        b"a",
        b"0",
        b"3",
        b"03",
        b"3,3",
        b"+3",
        b"-1",
        b"3 ",
        b"\t3",
        b"chunked",
        b"Chunked",
        b"chunked ",
        b"gzip",
        b"identity",
        b"close",
        b"keep-alive",
        b"upgrade",
        b"100-continue",
        b"h2c",
        b"",
        b"\xff",
        b"\x01",
        b"a\rb",
        b"a\nb",
        b"a\r\n b",
    ]
)
BODIES = st.sampled_from(
    [
        b"",
        b"abc",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"3;x\r\nabc\r\n0\r\nT: u\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"003\r\nabc\r\n00\r\n\r\n",
        b"g\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        get("/smuggled"),
    ]
)
LINES = st.sampled_from(
    [
        b"POST /a HTTP/1.1",
        b"GET /b HTTP/1.1",
        b"GET /c HTTP/1.0",
        b"POST  /d HTTP/1.1",
        b"GET /e",
        b"PUT http://a/f HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /g HTTP/1.2",
        b"GET /h HTTP/2.0",
        b"get /i HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw a request that may be right: a line, its host, fields, a body; now and then a byte is changed."""
    fields = [
        b"Host: a",
        *[name + b": " + value for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))],
    ]
    made = b"".join(line + draw(ENDS) for line in [draw(LINES), *fields, b""]) + draw(BODIES)
    if draw(st.integers(0, 3)) == 0 and made:
        place = draw(st.integers(0, len(made) - 1))
        made = made[:place] + draw(st.binary(max_size=2)) + made[place + draw(st.integers(0, 1)) :]
    return made


@settings(max_examples=600, deadline=None)
@given(st.lists(requests() | st.sampled_from(heads.CORPUS), min_size=1, max_size=3))
def test_what_the_proxy_reads_h11_reads(made: list[bytes]) -> None:
    """`check` cuts at every boundary, and compares with h11."""
    heads.check(b"".join(made))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(bodies.PATHS) - 1), st.sampled_from(bodies._BODIES), st.data())
def test_bodies_that_were_changed(path: int, body: bytes, data: st.DataObject) -> None:
    place, length = data.draw(st.integers(0, len(body))), data.draw(st.integers(0, 8))
    bodies.check(bytes([path]) + body[:place] + data.draw(st.binary(max_size=4)) + body[place + length :])


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=2, max_size=40))
def test_streams_of_any_events(data: bytes) -> None:
    streams.check(data)
