"""Heads of requests and answers, written from parsed fields: what was ambiguous on the wire is never passed on."""

from typing import Final, Literal

from proxy.errors import PHRASES, Answer
from proxy.headers import Headers, to_client
from proxy.steps import Forward

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


Framing = Literal["none", "length", "chunked", "close"]
"""How the end of a body is found."""


class ResponseHead:
    """The head of an upstream's answer. `fields` are the headers by lower-case name.

    `length` is the value of `content-length`, empty where the framing is another. In `headers` and `fields` there may stand
    that of an earlier answer whose head was the same. `written`, where it is known: as the client gets it, before and after
    the length, without what is added.
    """

    __slots__ = ("fields", "framing", "headers", "length", "reason", "status", "written")

    def __init__(
        self,
        status: int,
        reason: bytes,
        headers: Headers,
        fields: dict[bytes, bytes],
        framing: Framing,
        length: bytes = b"",
        written: tuple[bytes, bytes] | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.fields = fields
        self.framing = framing
        self.length = length
        self.written = written


def request(forward: Forward) -> bytes:
    """Return a whole request; its body is always framed by its length."""
    head, body = forward.head, forward.body
    if body or head.framed:
        length = b"\r\ncontent-length: %d\r\n\r\n" % len(body)
        return b"".join((head.written, forward.request_id.encode(), length, body))
    return b"".join((head.written, forward.request_id.encode(), b"\r\n\r\n"))


def open_request(forward: Forward) -> bytes:
    """Return the head of a request whose body follows in chunks."""
    return forward.head.written + forward.request_id.encode() + b"\r\ntransfer-encoding: chunked\r\n\r\n"


def get(target: bytes, fields: Headers) -> bytes:
    """Return a GET of the proxy's own."""
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", *map(b": ".join, fields), b"\r\n"])


def passed(head: ResponseHead, hidden: bytes | None) -> Headers:
    """Return the fields of an answer that a client gets, but for the one in lower case that is `hidden`."""
    fields = to_client(head.headers)
    if hidden is not None:
        fields = [field for field in fields if field[0].lower() != hidden]
    if head.length:
        fields = [field if field[0].lower() != _LENGTH else (field[0], head.length) for field in fields]
    return fields


def response(head: ResponseHead, hidden: bytes | None, added: Headers, framing: Framing, close: bool) -> bytes:
    """Return the head of an answer that passes through, framed for the client."""
    written = head.written
    if written is not None and hidden is None and not close:
        return b"".join((written[0], head.length, written[1], *[b"\r\n" + b": ".join(field) for field in added], _END))
    fields = passed(head, hidden) + added
    if framing != head.framing:  # only ever from chunks to the end of the connection
        fields = [field for field in fields if field[0].lower() not in (b"transfer-encoding", b"trailer")]
    lines = [_start(head), *map(b": ".join, fields)]
    if close:
        lines.append(b"connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def written(head: ResponseHead) -> tuple[bytes, bytes]:
    """Return what `ResponseHead.written` is, for a head framed by its length."""
    fields = to_client(head.headers)
    place = next(place for place, field in enumerate(fields) if field[0].lower() == _LENGTH)
    before = [_start(head), *map(b": ".join, fields[:place]), fields[place][0] + b": "]
    return b"\r\n".join(before), b"".join([b"\r\n" + b": ".join(field) for field in fields[place + 1 :]])


def interim(head: ResponseHead) -> bytes:
    """Return a 1xx answer."""
    return b"\r\n".join([_start(head), *map(b": ".join, head.headers), b"\r\n"])


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


def _start(head: ResponseHead) -> bytes:
    return b"HTTP/1.1 %d " % head.status + head.reason


_LENGTH: Final = b"content-length"
_END: Final = b"\r\n\r\n"
