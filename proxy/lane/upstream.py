"""A connection to vLLM: one request at a time, its answer handed on as it comes."""

import asyncio
import time
from typing import Protocol, cast

import httptools

from proxy.headers import Headers
from proxy.lane.habit import Habit
from proxy.lane.head import Framing, ResponseHead, written


class Sink(Protocol):
    """Who waits for an answer."""

    def on_interim(self, head: ResponseHead) -> None:
        """Take a 1xx answer; the real one follows."""

    def on_head(self, head: ResponseHead) -> None:
        """Take the answer's head; `on_data` follows at once."""

    def on_data(self, data: bytes, last: bool, trailers: Headers) -> None:
        """Take a piece of the body, perhaps empty; after `last` the connection is no longer the sink's."""

    def on_lost(self, message: str, stale: bool) -> None:
        """Learn that the answer will not come, or not end; `stale`: an old connection ended before a byte of it."""


class Owner(Protocol):
    """Where connections come from and go back to."""

    habit: Habit
    """Of the answers of all connections."""
    known: ResponseHead | None
    """What the habit recognises."""

    def release(self, connection: "UpstreamConnection") -> None:
        """Take back a connection that may serve another request."""

    def forget(self, connection: "UpstreamConnection") -> None:
        """Learn that a connection is gone."""


class UpstreamConnection(asyncio.Protocol):
    """One connection. `idle_since` and times are of `time.monotonic`."""

    __slots__ = (
        "_done",
        "_fresh",
        "_given",
        "_head",
        "_head_only",
        "_headers",
        "_interim",
        "_owner",
        "_parser",
        "_paused",
        "_pieces",
        "_reason",
        "_reusable",
        "_served",
        "_sink",
        "_trailers",
        "_transport",
        "ended_in_order",
        "idle_since",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._sink: Sink | None = None
        self._served = 0
        self._paused = False
        self.idle_since = 0.0
        self.ended_in_order = False
        """The upstream closed, and all that it had sent was read."""
        self._reset(head_only=False)

    def _reset(self, head_only: bool) -> None:
        self._head: ResponseHead | None = None
        self._head_only = head_only
        self._headers: Headers = []
        self._trailers: Headers = []
        self._reason = b""
        self._pieces: list[bytes] = []
        self._fresh = True
        self._given = self._interim = self._done = False
        self._reusable = True

    # -- used by who sends a request -------------------------------------------------------------------------------

    def begin(self, sink: Sink, request: bytes, head_only: bool, paused: bool) -> None:
        """Send a request; its answer goes to `sink`. `paused`: do not read before `resume`."""
        assert self._transport is not None
        self._sink = sink
        self._served += 1
        self._reset(head_only)
        if paused:
            self.pause()
        self._transport.write(request)

    @property
    def usable(self) -> bool:
        """Return whether a request could be sent now."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def paused(self) -> bool:
        """Return whether it is not read, because the client does not keep up."""
        return self._paused

    def pause(self) -> None:
        """Stop reading: the client does not keep up."""
        self._paused = True
        if self._transport is not None and not self._transport.is_closing() and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self._transport is not None and not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    def hang_up(self, sink: Sink) -> bool:
        """Close our direction, as a client that leaves; what still comes goes to `sink`. False: cannot (TLS)."""
        if self._transport is None or self._transport.is_closing() or not self._transport.can_write_eof():
            return False
        self._sink = sink
        self._reusable = False
        self._transport.write_eof()
        self.resume()
        return True

    def abort(self) -> None:
        """Cut the connection, so that vLLM stops generating at once; the sink hears no more."""
        self._sink = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        if self._transport is not None:
            self._transport.close()

    # -- called by the event loop ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        """Parse, and hand on what came."""
        sink = self._sink
        if sink is None:  # bytes that nobody asked for
            self.abort()
            return
        owner = self._owner
        fresh, self._fresh = self._fresh, False
        if fresh and owner.known is not None and not self._head_only and owner.habit.recognise(data):
            self._recognised(sink, owner.known, owner.habit)
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._done:
                self._lose(f"the upstream's answer is not HTTP: {error}")
                return
            self._reusable = False
        head = self._head
        if head is None:
            return
        if not self._given:
            self._given = True
            sink.on_head(head)
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._done:
            if fresh and self._reusable and head.framing == "length":
                self._learn(data, head, len(body))
            self._finish()
        sink.on_data(body, self._done, self._trailers)

    def _recognised(self, sink: Sink, known: ResponseHead, habit: Habit) -> None:
        """Hand on an answer that came whole, with a head as another one had."""
        body, habit.body = habit.body, b""  # what was said is not kept
        sink.on_head(
            ResponseHead(known.status, known.reason, known.headers, known.fields, "length", habit.length, known.written)
        )
        self._finish()
        sink.on_data(body, True, [])

    def _learn(self, data: bytes, head: ResponseHead, size: int) -> None:
        """Remember the head of an answer that came whole."""
        if self._owner.habit.learn(data, size) is not None:
            head.written = written(head)
            self._owner.known = head

    def _finish(self) -> None:
        self._sink = None
        if self._reusable:
            if self._paused:
                self.resume()
            self.idle_since = time.monotonic()
            self._owner.release(self)
        else:
            self.close()

    def eof_received(self) -> bool:
        """Close our side too."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the sink, unless the end of the connection was the end of the answer."""
        self._owner.forget(self)
        self.ended_in_order = error is None
        sink, head = self._sink, self._head
        if sink is None:
            return
        if error is None and head is not None and head.framing == "close":
            self._sink = None
            sink.on_data(b"", True, [])
        else:
            self._lose(f"the upstream closed the connection{f': {error}' if error else ''}")

    def _lose(self, message: str) -> None:
        sink, self._sink = self._sink, None
        stale = self._served > 1 and self._fresh
        self.abort()
        if sink is not None:
            sink.on_lost(message, stale)

    # -- called by the parser --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Notice bytes after the end of an answer."""
        if self._done:
            self._reusable = False

    def on_status(self, reason: bytes) -> None:
        """Take the reason phrase, perhaps in parts."""
        self._reason += reason

    def on_header(self, name: bytes, content: bytes) -> None:
        """Take a field of the head, or of the trailer."""
        if self._head is None:
            self._headers.append((name, content))
        elif not self._done:
            self._trailers.append((name, content))

    def on_headers_complete(self) -> None:
        """Find out how the body ends."""
        if self._done:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            return
        fields = {name.lower(): content for name, content in self._headers}
        framing: Framing
        if self._head_only or status in (204, 304):
            framing = "none"
        elif b"transfer-encoding" in fields:
            framing = "chunked"
        elif b"content-length" in fields:
            framing = "length"
        else:
            framing = "close"
        length = fields[b"content-length"] if framing == "length" else b""
        self._head = ResponseHead(status, self._reason, self._headers, fields, framing, length)
        if self._head_only:  # the parser does not know that no body follows
            self._done, self._reusable = True, False

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if not self._done:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Note the end of an answer; that of a 1xx is not it."""
        if self._interim:
            self._interim = False
            interim = ResponseHead(self._parser.get_status_code(), self._reason, self._headers, {}, "none")
            self._headers, self._reason = [], b""
            if self._sink is not None:
                self._sink.on_interim(interim)
        elif not self._done:
            self._done = True
            self._reusable = self._reusable and self._parser.should_keep_alive()  # only valid in here
