"""Requests on the wire: what the proxy takes for requests, h11 takes for the same ones, wherever the bytes were cut.

Reasoned exceptions, none of which moves the end of a request. h11 refuses empty lines before a request, which RFC 9112 (2.2)
tells servers to ignore, and more than one blank around the target (3: a server may take them); upstream goes one. h11 takes the
blanks from the end of a value, and writes `chunked` small. An offer to upgrade is declined, so the fields that make it are not
there. What the proxy refuses and h11 takes (bare line feeds, folded lines, `Content-Length: 3, 3`) is not looked at.

An input with `AGAIN` in it is a connection on which each part arrives alone, the first one twice, so that its head is known
when the others come: what is recognised by its bytes (`proxy.lane.habit`) is what the parser would have read. Its field of the
length is that of an earlier request, which goes nowhere, and is not compared.
"""

import re

import h11

from proxy.headers import Headers
from proxy.lane.reader import RequestReader
from tests.fuzz.cuts import cut, single
from tests.fuzz.engine import drive
from tests.proxy.memory import get, post

MAX_HEAD, MAX_BODY = 4096, 4096
AGAIN = b"\xfe\xfe"
_RARELY = 8
"""Byte by byte takes long: one input of so many is read so."""
_HOST = b"Host: a\r\n"
_CODING = b"transfer-encoding"
_OFFER = (b"upgrade", b"connection", b"http2-settings")
_BLANKS = re.compile(rb"\A([A-Z-]+) +([^ \r\n]+) +HTTP/")

Framed = tuple[str, bytes, list[tuple[bytes, bytes]], bytes]
"""Method, target, fields by lower-case name, body."""

CORPUS = [
    post("/v1/chat/completions", b'{"model":"m"}') + get("/health"),
    b"POST /c HTTP/1.1\r\n"
    + _HOST
    + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\n"
    + _HOST
    + b'Transfer-Encoding: Chunked\r\n\r\n1;a="b;\\"c"\r\nx\r\n000\r\n\r\nGET /d HTTP/1.1\r\n'
    + _HOST
    + b"\r\n",
    b"POST / HTTP/1.1\r\n"
    + _HOST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 003\r\n\r\nabc",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 3 \r\nX: \t a b \t\r\n\r\nabc",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length:\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n3;\nabc\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\rb\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"X: \x00\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"X: \x01\x7f\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET http://a/b?c#d HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET * HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET  / HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\nGET /b HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"get / HTTP/1.1\r\n" + _HOST + b"\r\n",
    b": / HTTP/1.1\r\n: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    b"PUT / HTTP/1.1\r\n"
    + _HOST
    + b"Content-Length: 2\r\nConnection: close\r\n\r\nabGET /after HTTP/1.1\r\n"
    + _HOST
    + b"\r\n",
]

CORPUS += [
    AGAIN.join([request % (b"3", b"abc"), request % (length, body), request % (b"3", b"xyz")])
    for request in (
        b"POST /v1/completions HTTP/1.1\r\n" + _HOST + b"Content-Length: %b\r\nX-A: b\r\n\r\n%b",
        b"PUT / HTTP/1.1\r\ncontent-length:%b\r\n" + _HOST + b"\r\n%b",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %b\r\n\r\n%b",
    )
    for length, body in (
        (b"5", b"abcde"),
        (b"0", b""),
        (b"0003", b"abc"),
        (b"+3", b"abc"),
        (b"3", b"ab"),
        (b"3", b"abcGET /smuggled HTTP/1.1\r\n\r\n"),
        (b"3\r\nTransfer-Encoding: chunked", b"abc"),
        (b"3\r\nConnection: close", b"abc"),
    )
]

_WORDS = [
    AGAIN,
    b"\r\n",
    b"Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Expect: 100-continue",
    b"Upgrade: h2c",
    b" HTTP/1.1\r\nHost: a\r\n",
    b" HTTP/1.0\r\n",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n",
]


def check(data: bytes) -> None:
    """Read `data` whole, and in pieces; then let h11 read it."""
    parts = data.split(AGAIN)
    connection = [parts[0], *parts] if len(parts) > 1 else parts
    data = b"".join(connection)
    whole = ours([data])
    for pieces in (connection, cut(data), single(data) if sum(data) % _RARELY == 0 else [data]):
        assert ours(pieces) == whole, pieces
    rest = data
    for number, expected in enumerate(whole[0]):
        found, rest = theirs(rest)
        assert found is not None, (number, expected)
        assert same(expected, found), (number, expected, found)


def ours(pieces: list[bytes]) -> tuple[list[Framed], bool]:
    """Return the requests that the proxy reads, and whether it then gave up."""
    reader = RequestReader(MAX_HEAD, MAX_BODY, None)
    for piece in pieces:
        reader.feed(piece)
    arrivals = [pending.arrival for pending in reader.queue]
    framed = [(one.head.method, one.head.target, plain(one.head.headers, one.body), one.body) for one in arrivals]
    return framed, reader.broken is not None


def plain(fields: Headers, body: bytes) -> Headers:
    """Return fields as h11 writes them, the length as it is."""
    lowered = [(name.lower(), content.strip(b" \t")) for name, content in fields]
    known = {b"content-length": b"%d" % len(body)}
    return [(name, content.lower() if name == _CODING else known.get(name, content)) for name, content in lowered]


def theirs(data: bytes) -> tuple[Framed | None, bytes]:
    """Return the first request as h11 reads it, None for none, and what follows it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(_BLANKS.sub(rb"\1 \2 HTTP/", data.lstrip(b"\r\n")))
    head, body = None, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                fields = plain(list(head.headers.raw_items()), body)
                return (head.method.decode(), head.target, fields, body), connection.trailing_data[0]
            else:
                return None, b""
    except h11.RemoteProtocolError:
        return None, b""


def same(expected: Framed, found: Framed) -> bool:
    """Return whether both read the same request; ours has no offer to upgrade any more."""
    offered = any(name == b"upgrade" for name, _ in found[2])
    fields = [field for field in found[2] if not offered or field[0] not in _OFFER]
    kept = [field for field in expected[2] if not offered or field[0] not in _OFFER]
    return (expected[:2], sorted(kept), expected[3]) == (found[:2], sorted(fields), found[3])


if __name__ == "__main__":
    drive(check, CORPUS, ("proxy.lane.reader", "proxy.lane.habit"), _WORDS)
