"""A request that arrives over HTTP/2, read whole or passed on as it comes; and why some are not served.

What is ambiguous must not reach vLLM, which is spoken to in HTTP/1.1: a line feed in a value would be a header there.
"""

import re
from datetime import datetime
from typing import Final

from mitmproxy import http

from proxy.dialects.realtime import METHOD
from proxy.headers import Headers
from proxy.request_head import RequestHead
from proxy.steps import Arrival
from proxy.streamed.intake import Intake

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_TARGET: Final = re.compile(rb"/[\x21-\x7e]*")
_METHOD: Final = re.compile(r"[A-Z]+")
_ONCE: Final = frozenset({b"host", b"authorization", b"x-api-key", b"content-length"})


class Upload:
    """One. Sizes are bytes; `code` and `message` say why it cannot be served (`broken`)."""

    def __init__(self, request: http.Request, address: str | None, max_head: int, max_body: int, max_held: int) -> None:
        self.method = request.method
        self.target = request.data.path
        given = list(request.headers.fields)
        authority = request.data.authority
        if authority:
            given = [(b"host", authority), *(field for field in given if field[0].lower() != b"host")]
        self._address = address
        self._max_body = max_body
        self._max_held = max_held
        self.intake: Intake | None = None
        """Where the body comes in once it is not held any more."""
        self._headers: Headers = given
        self._fields = dict(given)
        self._head_size = len(self.target) + sum(len(name) + len(value) + 4 for name, value in given)
        self._body: list[bytes] = []
        self.size = 0
        self.broken = self._unfit(max_head)

    def add(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.size += len(data)
        if self.size > self._max_body:
            self.broken = self._too_large()
        if self.intake is None:
            self._body.append(data)
        elif self.broken is None:
            self.intake.append(data)
        else:
            self.intake.fail(*self.broken)

    @property
    def outgrown(self) -> bool:
        """Whether the body is, or will be, larger than what is held."""
        return max(self.size, int(self._fields.get(b"content-length", b"0"))) > self._max_held

    def stream(self) -> Intake:
        """Hold no more of the body."""
        self.intake = intake = Intake()
        for piece in self._body:
            intake.append(piece)
        self._body.clear()
        return intake

    def arrival(self, now: datetime) -> Arrival:
        """Return the request, as far as it came."""
        head = RequestHead(self.method, self.target, self._headers, self._fields, self._address)
        body = b"".join(self._body) if self.broken is None else b""
        return Arrival(head, body, self._head_size + (self.size if self.intake is None else 0), now)

    def _unfit(self, max_head: int) -> tuple[str, str] | None:
        if self._head_size > max_head:
            return "headers_too_large", "The request's head is too large."
        wrong = self._wrong()
        if wrong is not None:
            return "invalid_request", wrong
        return self._too_large() if int(self._fields.get(b"content-length", b"0")) > self._max_body else None

    def _wrong(self) -> str | None:
        names = [name for name, _ in self._headers]
        twice = [name.decode() for name in _ONCE if names.count(name) > 1]
        if not _TARGET.fullmatch(self.target):
            found = "The path must begin with a slash and hold no spaces."
        elif not _METHOD.fullmatch(self.method) or self.method == METHOD:
            found = "This is no method."
        elif not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in self._headers):
            found = "A header's name or value has characters that it cannot have."
        elif twice:
            found = f"A request has one `{twice[0]}`."
        elif b"host" not in self._fields:
            found = "A request names its `:authority`."
        elif not self._fields.get(b"content-length", b"0").isdigit():
            found = "`content-length` is a number."
        else:
            found = None
        return found

    def _too_large(self) -> tuple[str, str]:
        return "request_too_large", f"The request's body is larger than {self._max_body} bytes."
