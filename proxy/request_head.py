"""The head of a request, and what follows from it alone.

The requests of one connection mostly have the same head, but for the length of the body. So one object may serve many of them,
and what is looked up or rewritten for the first need not be for the next.
"""

import re
from collections.abc import Mapping
from typing import Final

from proxy import admission, headers, trust
from proxy.dialects import table
from proxy.headers import Headers

MAX_TEXT: Final = 2048
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_TRACE: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class Passed:
    """A head on its way to vLLM, without a request id and what frames the body. `written`: as bytes, up to the id's value.

    `framed`: its body has a length, though it were 0.
    """

    __slots__ = ("framed", "headers", "written")

    def __init__(self, method: str, target: bytes, fields: Headers) -> None:
        self.headers = fields
        self.framed = method in _WITH_BODY
        start = method.encode() + b" " + target + b" HTTP/1.1"
        self.written = b"\r\n".join([start, *map(b": ".join, fields), b"x-request-id: "])


class RequestHead:
    """One. `fields` are the headers by lower-case name; the length of the body stands in neither of them for sure.

    It belongs to one upstream: what `route`, `sender` and `passed` are asked with is the same each time.
    """

    __slots__ = (
        "_found",
        "_passed",
        "_searched",
        "_sender",
        "client_address",
        "client_request_id",
        "fields",
        "headers",
        "method",
        "target",
        "token",
        "trace_id",
        "user_agent",
    )

    def __init__(
        self, method: str, target: bytes, headers: Headers, fields: dict[bytes, bytes], client_address: str | None
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.fields = fields
        self.client_address = client_address
        self.token = admission.token(fields)
        self.client_request_id = text(fields.get(b"x-request-id"))
        self.user_agent = text(fields.get(b"user-agent"))
        self.trace_id = _trace_id(headers) if b"traceparent" in fields else None
        self._searched = False
        self._found: tuple[table.Route, str | None] | None = None
        self._sender: trust.Sender | None = None
        self._passed: Passed | None = None

    def route(self, opened: Mapping[bytes, table.Route]) -> tuple[table.Route, str | None] | None:
        """Return what `table.find` does."""
        if not self._searched:
            self._found = table.find(self.target, opened)
            self._searched = True
        return self._found

    def sender(self, networks: tuple[str, ...]) -> trust.Sender:
        """Return who sends this, where `networks` are those of trusted proxies."""
        if self._sender is None:
            self._sender = trust.sender(self.client_address, self.headers, networks)
        return self._sender

    def passed(self, authorization: bytes | None, metered: bool, trusted: bool) -> Passed:
        """Return what vLLM gets of it, see `headers.to_upstream`. The route decides `metered`."""
        if self._passed is None:
            fields = headers.to_upstream(self.headers, self.fields, authorization, metered, trusted)
            self._passed = Passed(self.method, self.target, fields)
        return self._passed


def _trace_id(fields: Headers) -> str | None:
    """Return the trace that a request says it is part of (W3C Trace Context); None where its `traceparent` is not valid.

    A version that is not known yet may say more behind the four parts of version 00.
    """
    given = [value for name, value in fields if name.lower() == b"traceparent"]
    found = _TRACE.fullmatch(given[0]) if len(given) == 1 else None
    if found is None or (found[1] == b"00" and found[3] is not None):
        return None
    return found[2].decode()


def text(value: bytes | None) -> str | None:
    """Return a header's value as text of bounded length; None for none, or an empty one."""
    return value.decode("utf-8", "replace")[:MAX_TEXT] if value else None
