"""Streams of server-sent events that nothing has to be taken out of: each event is read on the side, its bytes pass at once.

Such APIs report usage once, at the end. Until then the output is estimated, see `EventWatcher.count`.
"""

import re
from abc import abstractmethod
from typing import Final

from proxy.sse import MAX_EVENT, StreamError
from proxy.tokens import Count, Tokens
from proxy.watch import Watcher

_ENDS: Final = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")
_MARKS: Final = (b"\n\n", b"\r\n\r\n")
_CHARACTERS_A_TOKEN: Final = 5
"""More than a token has on average in any common language, so that the estimate stays below what the engine counted."""


class Splitter:
    """Cuts a stream into whole events, and keeps what is not whole yet."""

    __slots__ = ("_edge", "_rest", "_size")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._edge = b""  # the last bytes of what is left over: an end may be cut

    def cut(self, data: bytes, last: bool) -> list[bytes]:
        """Return the events that are whole now, each with the empty line that ends it; `last`: also one without.

        Raises StreamError for an event without an end.
        """
        fresh = self._edge + data
        self._rest.append(data)
        self._size += len(data)
        self._edge = fresh[-3:]
        if not last and not any(mark in fresh for mark in _MARKS):
            if self._size > MAX_EVENT:
                raise StreamError(f"an event of more than {MAX_EVENT} bytes")
            return []
        events = [event for event in _ENDS.split(b"".join(self._rest)) if event]
        left = b"" if last or not events or events[-1].endswith(_MARKS) else events.pop()
        self._rest, self._size, self._edge = [left] if left else [], len(left), left[-3:]
        return events


def payload(event: bytes) -> bytes:
    """Return what stands after `data:`; empty for a comment."""
    if event.startswith(b"data:"):
        return event[5:].strip()
    start = event.find(b"\ndata:")
    return event[start + 6 :].strip() if start >= 0 else b""


class EventWatcher(Watcher):
    """Watches a stream of one generated text. A subclass reads its API's events, and says what it found in them."""

    __slots__ = (
        "_characters",
        "_deltas",
        "_early",
        "_events",
        "_total",
    )

    def __init__(self) -> None:
        super().__init__()
        self._events = Splitter()
        self._early: Tokens | None = None  # what was said of the prompt before the end
        self._total: Tokens | None = None
        self._deltas = self._characters = 0

    def feed(self, data: bytes, last: bool) -> bytes:
        """Pass everything on as it comes. Raises StreamError."""
        for event in self._events.cut(data, last):
            found = payload(event)
            if found:
                self._take(found)
        return data

    def count(self) -> Count | None:
        """Return the total, or an estimate of an answer that is not complete; None before the first word.

        The engine sends a piece of text for each step, of one token or, where it runs ahead of its sender, of several: there
        are at least as many tokens as pieces, and at least as many as the characters make.
        """
        if self._total is not None:
            return Count(self._total, whole=True)
        if self._early is None and not self._deltas:
            return None
        early = self._early if self._early is not None else Tokens()
        made = max(self._deltas, self._characters // _CHARACTERS_A_TOKEN)
        return Count(Tokens(early.input, early.cached, early.cache_created, made), whole=False)

    def _piece(self, text: str | None) -> None:
        """Note a piece of the generated text."""
        self.began = True
        self._deltas += 1
        self._characters += len(text) if text is not None else 0

    @abstractmethod
    def _take(self, found: bytes) -> None:
        """Read what one event carries."""
