"""Watching an answer pass: the protocol that streams and whole answers share."""

from typing import Protocol, runtime_checkable

import msgspec

from proxy.usage import Tokens


class Count(msgspec.Struct, frozen=True, gc=False):
    """What was counted. `whole`: every part of the request that the engine reports has reported."""

    tokens: Tokens
    whole: bool
    final: bool = False
    """No later byte of the answer can change it."""


class Watcher(Protocol):
    """Sees every byte of one answer's body, and says what the client gets for it."""

    began: bool
    """The first token came."""
    finished: bool
    """The answer said that it is complete: what follows is framing."""
    failed: bool
    """The answer, though its status is 200, reported an error."""
    response_id: str | None
    served_model: str | None
    finish_reason: str | None

    def feed(self, data: bytes, last: bool) -> bytes:
        """Take the next bytes of the body, and return what goes to the client now; `last`: no more will come."""

    def count(self) -> Count | None:
        """Return what was counted so far, or None when nothing was reported."""


@runtime_checkable
class SessionWatcher(Watcher, Protocol):
    """Watches a session in which the client speaks, too. It is finished whenever nothing is under way."""

    def said(self, data: bytes) -> str | None:
        """Take a message of the client; return the model that it names. Raises BadRequestError."""


class FreeWatcher:
    """Watches an answer that uses no tokens: there is nothing to count, and that exactly."""

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.served_model: str | None = None
        self.finish_reason: str | None = None
        self.began = self.finished = self.failed = False

    def feed(self, data: bytes, last: bool) -> bytes:
        """Pass everything on as it comes."""
        self.finished = last
        return data

    def count(self) -> Count | None:
        """Return that nothing was used."""
        return Count(Tokens(), whole=True, final=True)
