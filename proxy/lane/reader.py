"""Reads requests from a connection's bytes. One parser serves a whole connection, since requests may be pipelined.

A head that was read before is not read again (`proxy.lane.habit`). The parser refuses what is ambiguous (two lengths, length
and chunks, bare line feeds, folded lines); `_unfit` refuses what is merely not served. What is refused sets `broken`, and
nothing more is read.
"""

from datetime import datetime
from typing import Final

import httptools

from contracts.clock import utc_now
from proxy.headers import Headers
from proxy.lane.habit import Habit
from proxy.lane.pending import Pending, Streamed
from proxy.request_head import RequestHead
from proxy.steps import Arrival
from proxy.streamed.intake import Intake


class RequestReader:
    """Bytes in, requests out: `queue` holds those that wait to be served. Limits are bytes."""

    __slots__ = (
        "_address",
        "_between",
        "_body",
        "_fields",
        "_habit",
        "_headers",
        "_in_head",
        "_known",
        "_known_size",
        "_lines",
        "_max_body",
        "_max_head",
        "_max_held",
        "_old",
        "_parser",
        "_served",
        "_size",
        "_streamed",
        "_taken",
        "_target",
        "_unfinished",
        "broken",
        "expects",
        "queue",
    )

    def __init__(self, max_head: int, max_body: int, client_address: str | None, max_held: int | None = None) -> None:
        """`max_held`: a larger body is handed out as it comes; None: all are held."""
        self._max_head = max_head
        self._max_body = max_body
        self._max_held = max_body if max_held is None else max_held
        self._streamed: Streamed | None = None
        self._address = client_address
        self._parser = httptools.HttpRequestParser(self)
        self._between = True  # the parser stands before a request
        self._served = 0
        self._habit = Habit()
        self._known: RequestHead | None = None  # what the habit recognises
        self._known_size = 0  # of that head, without the digits of its length
        self.queue: list[Pending] = []  # short: an empty deque would be the largest object of a connection
        self.broken: tuple[str, str] | None = None
        """Why nothing more can be read: code and message."""
        self.expects = False
        """The client waits for `100 Continue` before it sends the body."""
        self._start()

    def _start(self) -> None:
        self._target = b""
        self._lines: Headers = []
        self._headers: Headers = []
        self._fields: dict[bytes, bytes] = {}
        self._body: list[bytes] | Intake = []
        self._size = self._taken = self._unfinished = 0
        self._in_head = self._old = False

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        if self.broken is not None:
            return
        between, served = self._between, self._served
        if between and self._known is not None and len(data) <= self._max_held and self._habit.recognise(data):
            self._recognised(self._known)
            return
        self._parse(data)
        if between and self._between and served and self._served == served + 1:
            self._learn(data)

    def _recognised(self, known: RequestHead) -> None:
        body = self._habit.body
        self._habit.body = b""
        size = self._known_size + len(self._habit.length) + len(body)
        self._served += 1
        self.queue.append(Pending(Arrival(known, body, size, utc_now()), True, False))

    def _learn(self, data: bytes) -> None:
        """Remember the head of a request that came whole and alone. Not the first one: most connections bring no other."""
        pending = self.queue[-1]
        arrival = pending.arrival
        if self.broken is not None or not pending.keep or not _SPECIAL.isdisjoint(arrival.head.fields):
            return
        length = self._habit.learn(data, len(arrival.body))
        if length is not None:
            self._known = arrival.head
            self._known_size = arrival.size - len(arrival.body) - len(length)

    def _parse(self, data: bytes) -> None:
        in_head = self._in_head
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._break("invalid_request", f"This is no HTTP/1.1 request: {error}.")
        if in_head and self._in_head:  # where it began with this data, most of that may be other requests
            self._unfinished += len(data)
            if self._unfinished > self._max_head:
                self._break(*_HEAD_TOO_LARGE)

    def unread(self, now: datetime) -> Arrival:
        """Return what is known of the request that could not be read."""
        head = RequestHead("", self._target, self._headers, self._fields, self._address)
        return Arrival(head, b"", self._size + self._taken, now)

    # -- called by the parser --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._start()
        self._in_head = True
        self._between = False

    def on_url(self, target: bytes) -> None:
        """Take the target, perhaps in parts."""
        self._target += target

    def on_header(self, name: bytes, content: bytes) -> None:
        """Take a field."""
        self._lines.append((name, content))
        self._size += len(name) + len(content) + _FIELD_BYTES
        if self._size > self._max_head:  # a trailer counts, too
            self._break(*_HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Refuse at once what cannot become a request."""
        self._in_head = False
        self._headers, self._lines = self._lines, []  # what comes now is a trailer, which is dropped
        self._fields = {name.lower(): content for name, content in self._headers}
        self._size += len(self._target)
        if self.broken is None:
            self.broken = self._unfit()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.expects = False
        if self.broken is None:
            self._body.append(data)
            self._taken += len(data)
            if self._taken > self._max_held:
                self._outgrow()

    def on_message_complete(self) -> None:
        """Queue a whole request."""
        self.expects = False
        if self.broken is not None or self._parser.should_upgrade():
            return
        self._between = True
        keep = self._parser.should_keep_alive() and not self._old
        if not keep:
            self._known = None  # what follows is no request any more
        pieces = self._body
        if isinstance(pieces, Intake):
            self._end_stream(pieces, keep)
            return
        self._served += 1
        method = self._parser.get_method().decode()
        head = RequestHead(method, self._target, self._headers, self._fields, self._address)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()  # who answers it knows how long it is needed
        arrival = Arrival(head, body, self._size + self._taken, utc_now())
        self.queue.append(Pending(arrival, keep, self._old))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _break(self, code: str, message: str) -> None:
        """Read no more; the first reason counts."""
        if self.broken is None:
            self.broken = code, message
            if isinstance(self._body, Intake):
                self._body.fail(code, message)

    def _outgrow(self) -> None:
        """Hold no more of a body."""
        if self._taken > self._max_body:
            self._break(*self._too_large())
        elif isinstance(self._body, Intake):
            return
        elif b"upgrade" in self._fields:  # such an offer is declined when the body was read
            self._break("request_too_large", "So large a body cannot come with an offer to upgrade.")
        else:
            self._stream(self._body)

    def _stream(self, pieces: list[bytes]) -> None:
        """Queue a request before its body has come."""
        self._body = intake = Intake()
        for piece in pieces:
            intake.append(piece)
        method = self._parser.get_method().decode()
        head = RequestHead(method, self._target, self._headers, self._fields, self._address)
        self._streamed = Streamed(Arrival(head, b"", self._size, utc_now()), self._old, intake)
        self.queue.append(self._streamed)

    def _end_stream(self, intake: Intake, keep: bool) -> None:
        assert self._streamed is not None
        self._streamed.keep = keep
        self._streamed = None
        intake.end()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read a request that offers another protocol as if it had not: an offer may be declined."""
        method, target = self._parser.get_method(), self._target
        fields = [field for field in self._headers if field[0].lower() not in (b"upgrade", b"connection")]
        self._parser = httptools.HttpRequestParser(self)
        if method == b"CONNECT":
            self.broken = ("invalid_request", "This is no forward proxy.")
        else:
            lines = [method + b" " + target + b" HTTP/1.1", *(name + b": " + content for name, content in fields)]
            self.feed(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _unfit(self) -> tuple[str, str] | None:
        """Return why a head cannot be served."""
        if self._size > self._max_head:
            return _HEAD_TOO_LARGE
        fields, version = self._fields, self._parser.get_http_version()
        if len(fields) < len(self._headers):
            names = [name.lower() for name, _ in self._headers]
            twice = [name.decode() for name in _ONCE if names.count(name) > 1]
            if twice:
                return "invalid_request", f"A request has one `{twice[0]}`."
        coding = fields.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or version != "1.1"):
            return "invalid_request", "The only transfer coding that is served is `chunked`, in HTTP/1.1."
        if version not in _VERSIONS or (b"host" not in fields and version == "1.1"):
            return "invalid_request", "A request is of HTTP/1.1 and names its `Host`."
        self.expects = b"expect" in fields
        self._old = version == "1.0"
        length = int(fields.get(b"content-length", b"0"))
        if length > self._max_held:
            if length > self._max_body:
                return self._too_large()
            if b"upgrade" not in fields:
                self._stream([])
        return None

    def _too_large(self) -> tuple[str, str]:
        return "request_too_large", f"The request's body is larger than {self._max_body} bytes."


_FIELD_BYTES: Final = 4  # the colon, a blank and the end of the line
_ONCE = frozenset({b"host", b"transfer-encoding", b"authorization", b"x-api-key"})
_SPECIAL = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_VERSIONS = frozenset({"1.1", "1.0"})
_HEAD_TOO_LARGE = ("headers_too_large", "The request's head is too large.")
