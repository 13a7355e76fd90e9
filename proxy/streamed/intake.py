"""What of a body has arrived and was not passed on yet."""

from collections import deque
from collections.abc import Callable
from typing import Final

AHEAD: Final = 256 << 10
"""Bytes: while more wait, whoever fills this lets the client wait."""
PIECE: Final = 64 << 10
"""Bytes that are taken at once, so that the others' requests have their turn in between."""


class Intake:
    """Filled by the lane as bytes come, emptied by the one who passes them on (`watch`)."""

    __slots__ = ("_notify", "_pieces", "_taken", "broken", "ended", "size", "total")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self.size = self.total = 0
        """Bytes that wait, and that came."""
        self.ended = False
        self.broken: tuple[str, str] | None = None
        """Why no more will come: code and message."""
        self._notify: Callable[[], None] | None = None
        self._taken: Callable[[int], None] | None = None

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def full(self) -> bool:
        """Whether the client should wait."""
        return self.size > AHEAD

    def watch(self, notify: Callable[[], None]) -> None:
        """Have `notify` called when something came, or nothing more will."""
        self._notify = notify

    def on_taken(self, taken: Callable[[int], None]) -> None:
        """Have `taken` called with a number of bytes when these are passed on."""
        self._taken = taken

    def append(self, data: bytes) -> None:
        """Add bytes."""
        self.size += len(data)
        self.total += len(data)
        self._pieces += [data[start : start + PIECE] for start in range(0, len(data), PIECE)]
        self._tell()

    def end(self) -> None:
        """Say that this was all."""
        self.ended = True
        self._tell()

    def fail(self, code: str, message: str) -> None:
        """Say that the rest cannot be read."""
        if not self.ended and self.broken is None:
            self.broken = code, message
            self._tell()

    def take(self) -> bytes | None:
        """Return the next bytes; None: there are none yet, or no more."""
        if not self._pieces:
            return None
        data = self._pieces.popleft()
        self.size -= len(data)
        if self._taken is not None:
            self._taken(len(data))
        return data

    def _tell(self) -> None:
        if self._notify is not None:
            self._notify()
