"""Every path that a client may use, and what it is: metered by a dialect, or free. What is not here is refused.

What cannot be metered must not pass: a path of a new vLLM version is closed until it gets its line here.
"""

from typing import Final, NamedTuple

from proxy.dialects.base import Dialect
from proxy.dialects.chat import Chat
from proxy.dialects.completions import Completions


class Route(NamedTuple):
    """What a path is. `dialect` None: free, passed on and not metered; `key`: whether an API key is needed."""

    path: str
    methods: tuple[str, ...]
    dialect: Dialect | None
    key: bool = True


_READ: Final = ("GET", "HEAD")

ROUTES: Final[dict[bytes, Route]] = {
    route.path.encode(): route
    for route in (
        Route("/v1/chat/completions", ("POST",), Chat()),
        Route("/v1/completions", ("POST",), Completions()),
        Route("/v1/models", _READ, None),
        Route("/version", _READ, None),
        Route("/health", _READ, None, key=False),
        Route("/ping", ("GET", "HEAD", "POST"), None, key=False),
    )
}


def find(target: bytes) -> Route | None:
    """Return the route of a request target: path and query, as sent. No other spelling of a path is accepted."""
    return ROUTES.get(target if b"?" not in target else target[: target.index(b"?")])
