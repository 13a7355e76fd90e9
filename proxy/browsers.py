"""Browsers of other origins (CORS): what vLLM lets them read, they may read of our own answers too.

vLLM decides, by its `--allowed-origins`; nobody tells the proxy. So it learns from vLLM's answers: a browser's preflight, which
comes before every request with a key, is one of them.
"""

from collections.abc import Mapping
from typing import Final

from proxy.headers import Headers
from proxy.request_head import RequestHead

MAX_ORIGINS: Final = 1024
MAX_ORIGIN: Final = 256
"""Bytes: a longer name of an origin is not kept."""
_ALLOWED: Final = b"access-control-allow-origin"
_CREDENTIALS: Final = b"access-control-allow-credentials"


def is_preflight(head: RequestHead) -> bool:
    """Return whether a browser asks what it may ask for; vLLM answers that without looking at the path."""
    fields = head.fields
    return head.method == "OPTIONS" and b"origin" in fields and b"access-control-request-method" in fields


class Origins:
    """Those that vLLM allows, as far as it has shown: `any`, or by name."""

    __slots__ = ("_any", "_named")

    def __init__(self) -> None:
        self._any = False
        self._named: dict[bytes, Headers] = {}

    def learn(self, origin: bytes, status: int, fields: Mapping[bytes, bytes]) -> None:
        """Take what an answer of vLLM to a request of that origin said. `fields` are its headers by lower-case name.

        An answer that says nothing takes back what was known only if it is a 200: some errors of vLLM never say it.
        """
        allowed = fields.get(_ALLOWED)
        if allowed is None:
            if status == 200:
                self._any = False
                self._named.pop(origin, None)
            return
        self._any = allowed == b"*"
        if self._any or len(origin) > MAX_ORIGIN:
            return
        if origin not in self._named and len(self._named) >= MAX_ORIGINS:
            self._named.pop(next(iter(self._named)))
        answer = [(_ALLOWED, allowed), (b"vary", b"Origin")]
        if _CREDENTIALS in fields:
            answer.append((_CREDENTIALS, fields[_CREDENTIALS]))
        self._named[origin] = answer

    def fields(self, origin: bytes) -> Headers:
        """Return the headers that let a browser of this origin read an answer of ours; none if vLLM has not allowed it."""
        if self._any:
            return [(_ALLOWED, b"*")]
        return self._named.get(origin, [])
