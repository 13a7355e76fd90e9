"""Watching an answer pass: what streams and whole answers share."""

from abc import ABC, abstractmethod

from mypy_extensions import mypyc_attr

from proxy.tokens import Count, Tokens


@mypyc_attr(allow_interpreted_subclasses=True)
class Watcher(ABC):
    """Sees every byte of one answer's body, and says what the client gets for it.

    `began`: the first token came. `finished`: the answer said that it is complete, and what follows is framing. `failed`: the
    answer, though its status is 200, reported an error.
    """

    __slots__ = ("began", "failed", "finish_reason", "finished", "response_id", "served_model")

    def __init__(self) -> None:
        self.began = self.finished = self.failed = False
        self.response_id: str | None = None
        self.served_model: str | None = None
        self.finish_reason: str | None = None

    @abstractmethod
    def feed(self, data: bytes, last: bool) -> bytes:
        """Take the next bytes of the body, and return what goes to the client now; `last`: no more will come."""

    @abstractmethod
    def count(self) -> Count | None:
        """Return what was counted so far, or None when nothing was reported."""


@mypyc_attr(allow_interpreted_subclasses=True)
class SessionWatcher(Watcher):
    """Watches a session in which the client speaks, too. It is finished whenever nothing is under way."""

    __slots__ = ()

    @abstractmethod
    def said(self, data: bytes) -> str | None:
        """Take a message of the client; return the model that it names. Raises BadRequestError."""


class FreeWatcher(Watcher):
    """Watches an answer that uses no tokens: there is nothing to count, and that exactly."""

    __slots__ = ()

    def feed(self, data: bytes, last: bool) -> bytes:
        """Pass everything on as it comes."""
        self.finished = last
        return data

    def count(self) -> Count | None:
        """Return that nothing was used."""
        return Count(Tokens(), whole=True, final=True)
