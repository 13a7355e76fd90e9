"""HTTP/1.1 as uvicorn speaks it, with its headers in its order: keep-alive, pipelining, and an abort seen at once.

The client is always read while an answer runs, so that its leaving is noticed; the answer's task is cancelled then. What was
already written is still delivered if the client only closed its own direction, as with uvicorn.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from inspect import CORO_CREATED, getcoroutinestate
from time import monotonic
from typing import Any, Final, Protocol, cast

import httptools

from contracts.clock import utc_now

JSON: Final = b"application/json"
EVENTS: Final = b"text/event-stream; charset=utf-8"
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_MAX_PIPELINED: Final = 16
_MAX_BODY: Final = 64 << 20


@dataclass(slots=True)
class HttpRequest:
    """A request as it came. Header names are in lower case; of repeated ones the last counts."""

    target: bytes = b""
    method: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True
    chunked: bool = True

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.target.split(b"?", 1)[0].decode("latin-1")


class Handler(Protocol):
    """Answers a request on a connection: at once (returns None) or in a task of the coroutine that it returns."""

    def __call__(self, request: HttpRequest, connection: "Connection") -> Coroutine[Any, Any, None] | None:
        """Answer `request`."""


class DateHeader:
    """The `date` line, made once a second."""

    def __init__(self) -> None:
        self._made = -1
        self._line = b""

    def line(self) -> bytes:
        """Return the line with its end."""
        second = int(monotonic())
        if second != self._made:
            self._made = second
            self._line = _date(utc_now())
        return self._line


def _date(now: datetime) -> bytes:
    return b"date: %b\r\n" % format_datetime(now, usegmt=True).encode()


class Connection(asyncio.Protocol):
    """One client's connection; the `Outlet` of what is answered on it, one request at a time."""

    def __init__(self, handler: Handler, date: DateHeader, live: set["Connection"]) -> None:
        self._handler = handler
        self._date = date
        self._live = live
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[HttpRequest] = deque()
        self._reading = HttpRequest()
        self._parts: list[bytes] = []
        self._size = 0
        self._answering: HttpRequest | None = None
        self._pending: Coroutine[Any, Any, None]
        self._task: asyncio.Task[None] | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._live.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what is being answered: nobody reads it."""
        self._live.discard(self)
        self._flowing.set()
        self._cancel()

    def eof_received(self) -> None:
        """Take a closed direction for a client that left; what was written is flushed as the transport closes."""
        self._cancel()

    def pause_writing(self) -> None:
        """Hold generation back: the client does not read."""
        self._flowing.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._flowing.set()

    def data_received(self, data: bytes) -> None:
        """Parse, and answer what is complete."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.write(
                b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nInvalid HTTP request received."
            )
            self._cancel()
            self._transport.close()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Start a request."""
        self._reading = HttpRequest()
        self._parts = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._reading.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Tell a client that waits for it to go on."""
        if self._reading.headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; one that is absurdly long ends the connection."""
        self._parts.append(body)
        self._size += len(body)
        if self._size > _MAX_BODY:
            self._transport.abort()

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait for the one before."""
        request = self._reading
        request.method = self._parser.get_method().decode()
        request.keep_alive = self._parser.should_keep_alive()
        request.chunked = self._parser.get_http_version() == "1.1"
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self._answering is None:
            self._answer(request)
            return
        self._waiting.append(request)
        if len(self._waiting) >= _MAX_PIPELINED:
            self._transport.pause_reading()

    # What an answer calls.

    def send(
        self, status: int, body: bytes, content_type: bytes | None = JSON, *, cors: bool = True, allow: str = ""
    ) -> None:
        """Send a whole answer; without a content type it has no such header."""
        request = self._answering
        assert request is not None
        head = [b"HTTP/1.1 %d %b\r\n" % (status, _REASONS[status]), self._date.line(), b"server: uvicorn\r\n"]
        if allow:
            head.append(b"allow: %b\r\n" % allow.encode())
        head.append(b"content-length: %d\r\n" % len(body))
        if content_type is not None:
            head.append(b"content-type: %b\r\n" % content_type)
        if cors:
            head.append(b"vary: Origin\r\n")
        head.append(b"\r\n" if request.keep_alive else b"connection: close\r\n\r\n")
        if request.method != "HEAD":
            head.append(body)
        self._transport.write(b"".join(head))
        self._answered()

    def open_stream(self, content_type: bytes = EVENTS, more: bytes = b"") -> None:
        """Send the head of a stream; `more` are whole header lines that come before its type."""
        request = self._answering
        assert request is not None
        close = b"" if request.keep_alive and request.chunked else b"connection: close\r\n"
        framing = b"transfer-encoding: chunked\r\n" if request.chunked else b""
        head = (b"HTTP/1.1 200 OK\r\n", self._date.line(), b"server: uvicorn\r\n", more)
        self._transport.write(
            b"".join((*head, b"content-type: %b\r\nvary: Origin\r\n" % content_type, close, framing, b"\r\n"))
        )

    def write(self, data: bytes) -> None:
        """Send a part of a stream, as one chunk."""
        assert self._answering is not None
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._answering.chunked else data)

    def close_stream(self) -> None:
        """End a stream."""
        assert self._answering is not None
        if self._answering.chunked:
            self._transport.write(b"0\r\n\r\n")
        else:
            self._answering.keep_alive = False
        self._answered()

    def abort(self) -> None:
        """Break the connection; the answer's task ends by itself."""
        self._task = None
        self._transport.abort()

    async def writable(self) -> None:
        """Wait while the client reads too slowly."""
        if not self._flowing.is_set():
            await self._flowing.wait()

    def shut(self) -> None:
        """Break the connection and whatever is answered on it."""
        self._cancel()
        self._transport.abort()

    def _answer(self, request: HttpRequest) -> None:
        self._answering = request
        pending = self._handler(request, self)
        if pending is not None:
            self._pending = pending
            self._task = asyncio.get_running_loop().create_task(pending)

    def _answered(self) -> None:
        request, self._answering, self._task = self._answering, None, None
        if request is not None and not request.keep_alive:
            self._waiting.clear()
            self._transport.close()
        elif self._waiting:
            if len(self._waiting) == _MAX_PIPELINED and not self._transport.is_closing():
                self._transport.resume_reading()
            asyncio.get_running_loop().call_soon(self._answer_next)

    def _answer_next(self) -> None:
        if self._answering is None and self._waiting and not self._transport.is_closing():
            self._answer(self._waiting.popleft())

    def _cancel(self) -> None:
        self._waiting.clear()
        task, self._task = self._task, None
        if task is None:
            return
        if getcoroutinestate(self._pending) == CORO_CREATED:  # it would never run, and so never note the request
            asyncio.get_running_loop().call_soon(task.cancel)
        else:
            task.cancel()
