"""Usage in a header of an answer whose body is no JSON: known before the body, which passes untouched."""

from typing import Final

import msgspec

from proxy.reported import Reported
from proxy.tokens import Count
from proxy.usage import tokens
from proxy.watch import Watcher


class _Head(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: Reported | None = None


_decode: Final = msgspec.json.Decoder(_Head).decode


class HeadWatcher(Watcher):
    """Watches an answer whose header says what it used; `content` is that header, None when it is not there."""

    __slots__ = ("_head",)

    def __init__(self, content: bytes | None) -> None:
        super().__init__()
        self._head = _read(content)
        self.response_id, self.served_model = self._head.id, self._head.model

    def feed(self, data: bytes, last: bool) -> bytes:
        """Pass everything on as it comes."""
        self.finished = last
        return data

    def count(self) -> Count | None:
        """Return what the header reported."""
        reported = self._head.usage
        return Count(tokens(reported), whole=True, final=True) if reported is not None else None


def _read(content: bytes | None) -> _Head:
    if content is None:
        return _Head()
    try:
        return _decode(content)
    except (ValueError, RecursionError):  # not as vLLM writes it: nothing was reported
        return _Head()
