"""What a dialect is: it reads one API's requests, and watches the answers."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from proxy.sse import Fingerprint
from proxy.watch import Watcher


class BadRequestError(Exception):
    """The client's request cannot be what vLLM would read: `code` is one of the outside interface's."""

    def __init__(self, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.code = code


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What a dialect is given of a request. `salt` is a secret of the tenant, the same at every request."""

    body: bytes
    salt: str
    content_type: bytes = b"application/json"
    """As sent, with its parameters; empty when the client names none."""
    parameter: str | None = None
    """What stood in the path where its route has a parameter."""
    fields: Mapping[bytes, bytes] = {}
    """The request's headers by lower-case name."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request as its dialect understands it. `body` is what goes upstream."""

    body: bytes
    model: str | None = None
    stream: bool = False
    end_user: str | None = None
    inputs: int = 1
    choices: int = 1
    """Of all inputs together."""
    keep_usage: bool = False
    keep_continuous: bool = False
    """What of the usage in a stream the client asked for itself."""
    free: bool = False
    """It uses no tokens, whatever becomes of it."""
    of_no_model: bool = False
    """It asks nothing of a model: which ones a key may use does not matter."""
    usage_header: bytes | None = None
    """The answer's header, in lower case, that has the usage in place of its body."""
    hide_usage_header: bool = False
    """The client did not ask for that header."""
    by: "Dialect | None" = None
    """Who understood it, where a path serves several dialects; it then watches the answer, and names the dialect."""


class Dialect(Protocol):
    """One API of vLLM."""

    name: str

    def read(self, asked: Asked) -> Call:
        """Understand a request and rebuild its body for vLLM. Raises BadRequestError."""

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer: a stream of events or one object."""
