"""What a dialect is: it reads one API's requests, and watches the answers."""

from typing import Protocol

import msgspec

from proxy.sse import Fingerprint
from proxy.watch import Watcher


class BadRequestError(Exception):
    """The client's body cannot be what vLLM would read: `code` is one of the outside interface's."""

    def __init__(self, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.code = code


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request as its dialect understands it. `body` is what goes upstream."""

    body: bytes
    model: str | None
    stream: bool
    end_user: str | None
    inputs: int
    choices: int
    """Of all inputs together."""
    keep_usage: bool
    keep_continuous: bool
    """What of the usage in a stream the client asked for itself."""


class Dialect(Protocol):
    """One API of vLLM."""

    name: str

    def read(self, body: bytes, salt: str) -> Call:
        """Understand a request body and rebuild it for vLLM; `salt` separates the tenant's cached prefixes.

        Raises BadRequestError.
        """

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer: a stream of events or one object."""
