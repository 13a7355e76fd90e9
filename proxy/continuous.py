"""Streams in chunks of choices, like chat's, of APIs that have no fingerprint: usage in every event, asked for by us.

What the client did not ask for is taken out again: `blank` replaces the usage of an event with choices, and the event with
usage alone is left out.
"""

from typing import Final

import msgspec

from proxy.events import Splitter, payload
from proxy.reported import Reported
from proxy.tokens import Count
from proxy.usage import LOOSE_MEMBER, per_choice, tokens
from proxy.watch import Watcher


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    request_id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Reported | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode: Final = msgspec.json.Decoder(_Chunk).decode


class ContinuousWatcher(Watcher):
    """Watches one stream of one prompt with `choices` choices. `keep_usage`, `keep_continuous`: what the client asked for."""

    __slots__ = (
        "_blank",
        "_choices",
        "_events",
        "_keep_continuous",
        "_keep_usage",
        "_latest",
        "_total",
    )

    def __init__(self, choices: int, keep_usage: bool, keep_continuous: bool, blank: bytes) -> None:
        super().__init__()
        self._choices = choices
        self._keep_usage = keep_usage
        self._keep_continuous = keep_usage and keep_continuous
        self._blank = blank
        self._events = Splitter()
        self._latest: dict[int, Reported] = {}
        self._total: Reported | None = None

    def feed(self, data: bytes, last: bool) -> bytes:
        """Return the whole events that came, as the client is to see them. Raises StreamError."""
        return b"".join([self._event(event) for event in self._events.cut(data, last)])

    def count(self) -> Count | None:
        """Return the total, or else the sum of what each choice reported last."""
        if self._total is not None:
            return Count(tokens(self._total), whole=True)
        return Count(per_choice(self._latest, self._choices), whole=True) if self._latest else None

    def _event(self, event: bytes) -> bytes:
        found = payload(event)
        if found == b"[DONE]":
            self.finished = True
        if not found or self.finished:
            return event
        try:
            chunk = _decode(found)
        except (ValueError, RecursionError):
            return event
        if bytes(chunk.error) != b"null":
            self.failed = True
            return event
        self.began = True
        self.response_id = self.response_id or chunk.id or chunk.request_id
        self.served_model = self.served_model or chunk.model
        return self._chunk(event, chunk)

    def _chunk(self, event: bytes, chunk: _Chunk) -> bytes:
        if not chunk.choices:
            self._total = chunk.usage or self._total
            return event if self._keep_usage or chunk.usage is None else b""
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            if chunk.usage is not None:
                self._latest[choice.index] = chunk.usage
        return event if self._keep_continuous else LOOSE_MEMBER.sub(self._blank, event, count=1)
