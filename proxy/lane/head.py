"""Heads of requests and answers, written from parsed fields: what was ambiguous on the wire is never passed on."""

from typing import Final, Literal

from proxy.errors import PHRASES, Answer
from proxy.headers import Headers
from proxy.steps import Forward

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


Framing = Literal["none", "length", "chunked", "close"]
"""How the end of a body is found."""


class ResponseHead:
    """The head of an upstream's answer. `fields` are the headers by lower-case name."""

    __slots__ = ("fields", "framing", "headers", "reason", "status")

    def __init__(
        self, status: int, reason: bytes, headers: Headers, fields: dict[bytes, bytes], framing: Framing
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.fields = fields
        self.framing = framing


def request(forward: Forward) -> bytes:
    """Return a whole request; its body is always framed by its length."""
    lines = [forward.method.encode() + b" " + forward.target + b" HTTP/1.1"]
    lines += map(b": ".join, forward.headers)
    if forward.body or forward.method in _WITH_BODY:
        lines.append(b"content-length: %d" % len(forward.body))
    lines.append(b"")
    lines.append(forward.body)
    return b"\r\n".join(lines)


def response(head: ResponseHead, fields: Headers, framing: Framing, close: bool) -> bytes:
    """Return the head of an answer that passes through, framed for the client."""
    if framing != head.framing:  # only ever from chunks to the end of the connection
        fields = [field for field in fields if field[0].lower() not in (b"transfer-encoding", b"trailer")]
    lines = [b"HTTP/1.1 %d " % head.status + head.reason]
    lines += map(b": ".join, fields)
    if close:
        lines.append(b"connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def interim(head: ResponseHead) -> bytes:
    """Return a 1xx answer."""
    lines = [b"HTTP/1.1 %d " % head.status + head.reason]
    lines += map(b": ".join, head.headers)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def answer(own: Answer, close: bool, head_only: bool) -> bytes:
    """Return a whole answer of the proxy's own."""
    lines = [b"HTTP/1.1 %d " % own.status + PHRASES.get(own.status, b"")]
    lines += map(b": ".join, own.headers)
    lines.append(b"content-length: %d" % len(own.body))
    if close:
        lines.append(b"connection: close")
    lines.append(b"")
    lines.append(b"" if head_only else own.body)
    return b"\r\n".join(lines)


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Headers) -> bytes:
    """Return the end of a chunked body."""
    return b"0\r\n" + b"".join([name + b": " + value + b"\r\n" for name, value in trailers]) + b"\r\n"
