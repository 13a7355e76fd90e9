"""Usage in an answer that is one JSON object. Bytes pass untouched; large bodies are scanned and not kept."""

from typing import Final

from mypy_extensions import mypyc_attr

from proxy.answers import decode_body
from proxy.reported import Reported
from proxy.tokens import Count
from proxy.usage import last_reported, tokens
from proxy.watch import Watcher

KEPT: Final = 1 << 20
"""Bodies up to this size are decoded as a whole, so that only a top-level `usage` counts."""
_CARRY: Final = 4096


@mypyc_attr(allow_interpreted_subclasses=True)
class UnaryWatcher(Watcher):
    """Watches one whole answer."""

    __slots__ = (
        "_body",
        "_reported",
        "_size",
    )

    def __init__(self) -> None:
        super().__init__()
        self._body: list[bytes] = []
        self._size = 0
        self._reported: Reported | None = None

    def feed(self, data: bytes, last: bool) -> bytes:
        """Pass everything on as it comes."""
        self._body.append(data)
        self._size += len(data)
        if self._size > KEPT:
            self._scan(b"".join(self._body))
        if last:
            self._finish()
        return data

    def count(self) -> Count | None:
        """Return what the answer reported; None before its end."""
        return Count(tokens(self._reported), whole=True) if self._reported is not None else None

    def _scan(self, seen: bytes) -> None:
        self._reported = self._search(seen) or self._reported
        self._body = [seen[-_CARRY:]]

    def _finish(self) -> None:
        self.finished = True
        if self._size > KEPT:
            return
        try:
            self._understand(b"".join(self._body))
        except (ValueError, RecursionError):  # not JSON, or not as vLLM writes it: nothing was reported
            return
        self._body.clear()

    def _search(self, seen: bytes) -> Reported | None:
        """Find usage in a part of a large body."""
        return last_reported(seen)

    def _understand(self, whole: bytes) -> None:
        """Read a whole body. Raises ValueError."""
        body = decode_body(whole)
        self._reported, self.response_id, self.served_model = body.usage, body.id, body.model
        if body.choices:
            self.finish_reason = body.choices[-1].finish_reason
