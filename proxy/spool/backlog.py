"""What is on disk and not yet acknowledged by the ledger, in pieces; pure, every method takes `now` (monotonic seconds).

A piece is a byte range of one segment with its span of sequences. Small neighbours are merged, so that a long outage costs
memory for one piece per `PIECE` bytes, not per event.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from proxy.spool.record import Record
from proxy.spool.segment import Segment

PIECE: Final = 64 << 10
KEPT_BYTES: Final = 2 << 20
"""Bytes of events that are kept in memory until they are sent; what is more is read back. Two groups under full load."""
RESEND_BYTES: Final = 4 << 20
"""How much is sent again at once. Whether anything was lost shows by what the ledger then acknowledges."""
RESEND_AFTER: Final = 10.0
RESEND_AFTER_MOST: Final = 60.0


@dataclass(slots=True, eq=False)
class Piece:
    """Events `first` to `last` in `[start, end)` of a segment, drafts among them; `size` is the bytes of the events alone.

    `events` are these events, while they are kept in memory.
    """

    segment: Segment
    start: int
    end: int
    first: int
    last: int
    size: int
    written_at: float = 0.0
    sent_at: float = 0.0
    events: list[Record] | None = None


class Backlog:
    """Pieces in order of their sequences: first those sent and not acknowledged, then those not sent."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Bytes of events sent and not acknowledged."""
        self.acknowledged = 0
        """The highest sequence up to which the ledger holds everything."""
        self._sent: deque[Piece] = deque()
        self._unsent: deque[Piece] = deque()
        self._kept = 0
        self._progress_at = 0.0
        self._patience = RESEND_AFTER

    def __bool__(self) -> bool:
        return bool(self._sent or self._unsent)

    @property
    def unsent(self) -> bool:
        """Whether something was never sent."""
        return bool(self._unsent)

    @property
    def oldest(self) -> float | None:
        """When the oldest piece was written, or None when the ledger has all."""
        head = self._sent or self._unsent
        return head[0].written_at if head else None

    def keep(self, piece: Piece, events: list[Record]) -> None:
        """Keep a piece's events in memory, if there is room; to be called before `add`."""
        if self._kept + piece.size <= KEPT_BYTES:
            self._kept += piece.size
            piece.events = events

    def add(self, piece: Piece) -> None:
        """Take up what is now on disk."""
        last = self._unsent[-1] if self._unsent else None
        alike = last is not None and (last.events is None) == (piece.events is None)
        if last is None or last.sent_at or not alike or not _merge(last, piece):  # what is being sent must not grow
            piece.segment.pending += 1
            self._unsent.append(piece)

    def take(self, size: int, now: float) -> list[Piece]:
        """Return the first pieces that were never sent, about `size` bytes of events; call `sent` when the broker has them."""
        pieces = list(_up_to(self._unsent, size))
        for piece in pieces:
            piece.sent_at = now
        return pieces

    def sent(self, pieces: list[Piece], now: float) -> None:
        """Note that the broker has the first unsent pieces."""
        for piece in pieces:
            if not self._unsent or self._unsent[0] is not piece:
                continue  # acknowledged meanwhile: an earlier attempt had arrived
            self._unsent.popleft()
            self._let_go(piece)
            piece.sent_at = now
            self.in_flight += piece.size
            if not self._sent:
                self._progress_at = now
            if self._sent and _merge(self._sent[-1], piece):
                piece.segment.pending -= 1
            else:
                self._sent.append(piece)

    def acknowledge(self, contiguous: int, now: float) -> bool:
        """Forget what the ledger holds, up to and including the sequence. Return whether that was news."""
        self.acknowledged = max(self.acknowledged, contiguous)
        news = False
        for pieces, sent in ((self._sent, True), (self._unsent, False)):
            while pieces and pieces[0].last <= contiguous:
                piece = pieces.popleft()
                piece.segment.pending -= 1
                self._let_go(piece)
                self.in_flight -= piece.size if sent else 0
                news = True
        if news:
            self._progress_at = now
            self._patience = RESEND_AFTER
        return news

    def resend_at(self) -> float | None:
        """Return when the ledger's silence becomes too long, or None when nothing is awaited."""
        return max(self._progress_at, self._sent[0].sent_at) + self._patience if self._sent else None

    def overdue(self, now: float) -> list[Piece]:
        """Return the oldest pieces if the ledger has been silent too long; the next silence may be twice as long."""
        due = self.resend_at()
        if due is None or now < due:
            return []
        self._progress_at = now
        self._patience = min(2 * self._patience, RESEND_AFTER_MOST)
        return list(_up_to(self._sent, RESEND_BYTES))

    def _let_go(self, piece: Piece) -> None:
        if piece.events is not None:
            self._kept -= piece.size
            piece.events = None


def _up_to(pieces: deque[Piece], size: int) -> Iterator[Piece]:
    for piece in pieces:
        yield piece
        size -= piece.size
        if size <= 0:
            return


def _merge(into: Piece, piece: Piece) -> bool:
    if into.segment is not piece.segment or into.size + piece.size > PIECE:
        return False
    into.end, into.last = piece.end, piece.last
    into.size += piece.size
    if into.events is not None and piece.events is not None:
        into.events += piece.events
    return True
