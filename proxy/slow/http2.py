"""HTTP/2: mitmproxy's layer takes frames apart and together; each stream is a request of its own.

What goes out is queued and handed to that layer between two events: answers come from vLLM's connections at any time,
while mitmproxy's layers want to be told one thing after the other.
"""

# mypy: disable-error-code="no-untyped-call"
# (mitmproxy annotates only a part of itself)

import time
from collections import deque
from collections.abc import Generator
from typing import Any, Final

import structlog
from h2.errors import ErrorCodes
from h2.exceptions import H2Error
from hyperframe.frame import GoAwayFrame
from mitmproxy import http
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http import _events as parts
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._http2 import Http2Server

from contracts.clock import utc_now
from proxy.errors import Answer
from proxy.headers import Headers
from proxy.lane.lane import Lane
from proxy.slow.handler import Handler, Serving, Told
from proxy.slow.request import Request
from proxy.slow.streamed import StreamedRequest
from proxy.slow.upload import Upload
from proxy.slow.windows import Windows

log = structlog.get_logger(__name__)

Commands = Generator[commands.Command, Any, None]

MUCH: Final = 256 << 10
"""Bytes of an answer that wait for the client's window before vLLM is made to wait, too."""
UPLOADS: Final = 4
"""So many times the largest body that is held may be on its way on one connection."""
RESETS: Final = 200
"""So many streams may a client reset within a second: beyond that it only makes work (CVE-2023-44487)."""
_NOT_DOWN: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


class _Stream:
    """Where the answer on one stream goes (`slow.request.Outlet`)."""

    def __init__(self, connection: "Http2", stream_id: int) -> None:
        self._connection, self._id = connection, stream_id

    def head(self, status: int, fields: Headers) -> None:
        """Send the head."""
        lowered = [(name.lower(), value) for name, value in fields]
        kept = [field for field in lowered if field[0] not in _NOT_DOWN and field[0] != b"trailer"]
        now = time.monotonic()
        head = http.Response(b"HTTP/2.0", status, b"", http.Headers(kept), None, None, now, None)
        self._connection.put(parts.ResponseHeaders(self._id, head))

    def data(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._connection.put(parts.ResponseData(self._id, data))

    def end(self) -> None:
        """Send the end."""
        self._connection.put(parts.ResponseEndOfMessage(self._id))

    def broken(self) -> None:
        """Reset the stream."""
        self._connection.put(parts.ResponseProtocolError(self._id, "the answer broke off"))


class Http2(Serving):
    """One connection."""

    def __init__(self, around: context.Context, lane: Lane, handler: Handler) -> None:
        super().__init__(around)
        around.client.alpn = b"h2"
        self._http = Http2Server(around.fork())
        self._http.h2_conn.decoder.max_header_list_size = 2 * lane.config.max_head  # ours is the limit that is answered
        self._lane, self._handler = lane, handler
        peer = around.client.peername
        self._address = peer[0] if peer else None
        self._uploads: dict[int, Upload] = {}
        self._requests: dict[int, Request] = {}
        self._out: deque[HttpEvent] = deque()
        self._busy = self._told = self._deaf = self._retired = self._held = False
        self._windows = Windows(self._http.h2_conn, self._wake)
        self._since = time.monotonic()
        self._resets = 0

    # -- what happens on the connection ----------------------------------------------------------------------------

    def _handle_event(self, event: events.Event) -> Commands:
        self._busy, self._told = True, False
        try:
            if not isinstance(event, Told):
                yield from self._give(event)
            if isinstance(event, events.DataReceived):
                self._drop_closed()
            while self._out:
                yield from self._send(self._out.popleft())
            self._balance()
            opened = self._windows.opened()
            if opened:
                yield commands.SendData(self.context.client, opened)
            yield from self._send_away()
            if self._retired:
                yield from self._retire()
        finally:
            self._busy = False

    def _give(self, event: events.Event) -> Commands:
        """Let mitmproxy's layer read or write, and take the requests that come of it."""
        try:
            for command in self._http.handle_event(event):
                if isinstance(command, ReceiveHttp):
                    self._receive(command.event)
                else:
                    yield command
        except H2Error as error:  # what that layer lets through, such as a window that shrinks below zero
            log.warning("HTTP/2 connection ended", error=repr(error), client_address=self._address)
            self.left()
            yield commands.CloseConnection(self.context.client)

    def _drop_closed(self) -> None:
        """Stop what nobody waits for: mitmproxy says nothing of a stream that is reset in the segment that opens it."""
        for stream_id in [each for each in self._requests if self._http.is_closed(each)]:
            self._resets += 1
            self._requests.pop(stream_id).left()

    def _send_away(self) -> Commands:
        if self._resets > RESETS:
            log.warning("HTTP/2 connection ended", error="streams reset again and again", client_address=self._address)
            self._resets = 0
            self.left()
            yield from self._close(ErrorCodes.ENHANCE_YOUR_CALM)

    def _send(self, event: HttpEvent) -> Commands:
        stream_id = event.stream_id
        if isinstance(event, parts.ResponseHeaders) and not self._http.is_open_for_us(stream_id):
            return  # the client reset the stream
        yield from self._give(event)
        if isinstance(event, parts.ResponseEndOfMessage | parts.ResponseProtocolError):
            self._requests.pop(stream_id, None)
            self._http.streams.pop(stream_id, None)  # mitmproxy would keep it for as long as the connection lives
            self._since = time.monotonic()
            self._windows.forget(stream_id)
            if self._uploads.pop(stream_id, None) is not None:  # refused before it was read: the rest may stay away
                connection = self._http.h2_conn
                if not self._http.is_closed(stream_id) and stream_id not in connection.stream_buffers:
                    connection.reset_stream(stream_id, ErrorCodes.NO_ERROR)
                    yield commands.SendData(self.context.client, connection.data_to_send())

    def _receive(self, event: HttpEvent) -> None:
        stream_id = event.stream_id
        if isinstance(event, parts.RequestHeaders) and self._retired:  # the client may ask elsewhere
            self._http.h2_conn.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
        elif isinstance(event, parts.RequestHeaders):
            self._since = time.monotonic()
            config = self._lane.config
            upload = Upload(event.request, self._address, config.max_head, config.max_body, config.max_held)
            self._uploads[stream_id] = upload
            self._refuse_if_broken(stream_id, upload)
            self._stream_if_large(stream_id, upload)
        elif isinstance(event, parts.RequestData):
            self._since = time.monotonic()
            self._grow(stream_id, event.data)
        elif isinstance(event, parts.RequestEndOfMessage):
            done = self._uploads.pop(stream_id, None)
            if done is not None and done.intake is not None:
                done.intake.end()
            elif done is not None and done.broken is None:
                request = Request(self._lane, _Stream(self, stream_id), done.arrival(utc_now()))
                self._requests[stream_id] = request
                request.begin()
        elif isinstance(event, parts.RequestProtocolError):
            self._resets += 1
            self._uploads.pop(stream_id, None)
            self._windows.forget(stream_id)
            left = self._requests.pop(stream_id, None)
            if left is not None:
                left.left()

    def _grow(self, stream_id: int, data: bytes) -> None:
        upload = self._uploads.get(stream_id)
        if upload is None or upload.broken is not None:
            return
        upload.add(data)
        if upload.intake is not None:
            return
        self._stream_if_large(stream_id, upload)
        held = sum(each.size for each in self._uploads.values() if each.intake is None)
        if held > UPLOADS * self._lane.config.max_held:
            upload.broken = "request_too_large", "Too much is being sent at once on this connection."
        self._refuse_if_broken(stream_id, upload)

    def _stream_if_large(self, stream_id: int, upload: Upload) -> None:
        if upload.broken is not None or not upload.outgrown:
            return
        intake = upload.stream()
        intake.on_taken(self._windows.reader(stream_id))
        request = StreamedRequest(self._lane, _Stream(self, stream_id), upload.arrival(utc_now()), intake)
        self._requests[stream_id] = request
        request.begin()

    def _refuse_if_broken(self, stream_id: int, upload: Upload) -> None:
        if upload.broken is None or upload.intake is not None:
            return
        answer: Answer = self._lane.desk.refuse(upload.arrival(utc_now()), *upload.broken)
        stream = _Stream(self, stream_id)
        stream.head(answer.status, [*answer.headers, (b"content-length", b"%d" % len(answer.body))])
        if upload.method != "HEAD":
            stream.data(answer.body)
        stream.end()

    # -- what goes out ---------------------------------------------------------------------------------------------

    def put(self, event: HttpEvent) -> None:
        """Queue something for the client."""
        self._out.append(event)
        self._wake()

    def _wake(self) -> None:
        if not self._busy and not self._told:
            self._told = True
            self._handler.tell(Told())

    def _balance(self) -> None:
        """Let vLLM wait for streams that the client does not read, and no longer for those that it does."""
        waiting = self._http.h2_conn.stream_buffers
        if not (waiting or self._deaf or self._held):
            return
        self._held = False
        for stream_id, request in self._requests.items():
            pieces = waiting.get(stream_id, ())
            hold = self._deaf or sum(len(piece.data) for piece in pieces) > MUCH
            self._held = self._held or hold
            request.hold(hold)

    def hold(self, deaf: bool) -> None:
        """Let vLLM wait for a client that does not read its socket."""
        self._deaf = deaf
        self._balance()

    # -- called by the lane ----------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Look whether something takes too long; close a connection on which nothing runs."""
        self._resets = 0
        for request in list(self._requests.values()):
            request.check(now)
        if not self._requests and now - self._since > self._lane.config.timeouts.client_idle:
            self.retire()

    def retire(self) -> None:
        """Take no more streams, and close when none runs."""
        self._retired = True
        self._wake()

    def cut(self) -> None:
        """Settle what runs."""
        for request in list(self._requests.values()):
            request.cut()
        self._requests.clear()

    def left(self) -> None:
        """Settle what runs: the client is gone."""
        requests, self._requests = self._requests, {}
        self._uploads.clear()
        for request in requests.values():
            request.left()

    def _retire(self) -> Commands:
        """Say goodbye when nothing runs. Not before: clients built on h2 take no more data after it."""
        if not self._requests and not self._http.h2_conn.stream_buffers:
            yield from self._close(ErrorCodes.NO_ERROR)

    def _close(self, code: ErrorCodes) -> Commands:
        yield commands.SendData(self.context.client, self._goaway(code))
        yield commands.CloseConnection(self.context.client)

    def _goaway(self, code: ErrorCodes) -> bytes:
        """Return the frame; h2 itself would first have to be in a state to send it."""
        last = self._http.h2_conn.highest_inbound_stream_id
        return bytes(GoAwayFrame(0, last_stream_id=last, error_code=code).serialize())
