"""The journal of one epoch: append on the event loop, sync in a thread, drop what the ledger has.

A page that was synced is never written again (a group ends with padding), and records become durable in the order in which
they were appended. Segments are dropped oldest first, so that a usage event never vanishes before its opening. Nothing here
waits for the disk but `_take_prepared`, when the thread that prepares segments could not keep up.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from proxy.spool import record
from proxy.spool.backlog import PIECE, Backlog, Piece
from proxy.spool.header import Header
from proxy.spool.record import DRAFT, FINAL, Kind, Record
from proxy.spool.segment import PAGE, Segment

SEGMENT_BYTES: Final = 4 << 20
CLOSE_RESERVE: Final = 2 << 10
"""Room kept for the end of each running request."""
_BASE_RESERVE: Final = 64 << 10


class SpoolFullError(Exception):
    """No room is left, or none can be had from the disk."""


@dataclass(frozen=True)
class Group:
    """What was appended since the last group: pieces to be synced, and drafts that other records then replace."""

    pieces: list[Piece]
    replaced: list[Segment]

    def sync(self) -> None:
        """Bring the group to the disk. Blocks, without the interpreter lock; call it in a thread. Raises OSError."""
        for segment, pieces in groupby(self.pieces, lambda piece: piece.segment):
            run = list(pieces)
            segment.sync(run[0].start, run[-1].end)


class Spool:
    """A folder of segments, locked through `lock` (a file descriptor) for as long as this object is open."""

    def __init__(self, folder: Path, lock: int, header: Header, segment_bytes: int, max_bytes: int) -> None:
        """Open a spool for writing in an empty folder. Blocks; raises OSError when the disk is full."""
        self.folder = folder
        self.producer, self.epoch = header.producer, header.epoch
        self.last_sequence = 0
        self.backlog = Backlog()
        self.bytes_used = 0
        """Bytes on disk that the ledger has not let go of."""
        self.others_bytes = 0
        """Bytes that spools adopted from dead processes take; they share the bound."""
        self.open: dict[bytes, Segment] = {}
        self._lock = lock
        self._closed = False
        self._segment_bytes, self._max_bytes = segment_bytes, max_bytes
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool-segments")
        self._number = header.number
        self._replaced: list[Segment] = []
        self._closed_pieces: list[Piece] = []
        self._events: list[Record] = []  # those of the piece that is being written
        self._segments: list[Segment] = []
        self._prepared: Future[Segment] | None = None
        self._position = self._group_start = self._group_size = 0
        self._group_first = 1
        self._begin(Segment.create(folder, self._number, segment_bytes))
        self.prepare()

    @property
    def dirty(self) -> bool:
        """Whether something was appended since the last group."""
        return self._position > self._group_start or bool(self._closed_pieces)

    def full(self) -> bool:
        """Whether no more requests should be taken: what is left is needed to end those that run."""
        reserve = len(self.open) * CLOSE_RESERVE + _BASE_RESERVE
        if self._limit - self._position >= reserve:
            return False
        return self._limit - self._position + self._obtainable() < reserve

    def append(self, kind: int, request_id: bytes, tenant: bytes, body: bytes) -> None:
        """Append a record: it then survives `kill -9` of this process. What is final takes the next sequence.

        Raises SpoolFullError, and then has appended nothing.
        """
        final = kind in FINAL
        data = record.encode(kind, self.last_sequence + 1 if final else 0, request_id, tenant, body)
        end = self._position + len(data)
        if end > self._limit:
            self._turn_over(len(data))
            end = self._position + len(data)
        self._memory[self._position : end] = data
        self._position = end
        if final:
            self.last_sequence += 1
            self._group_size += len(body)
            self._events.append(Record(kind, self.last_sequence, request_id, tenant, body, end))
        if kind != Kind.REQUEST:
            replaced = self.open.pop(request_id, None)
            if replaced is not None:
                self._replaced.append(replaced)
            if kind != Kind.USAGE:
                self.open[request_id] = self._active
                self._active.opens += 1
        if self._group_size >= PIECE:
            self._close_piece()

    def group(self, now: float) -> Group | None:
        """Close the group of what was appended since the last one, or return None. Sync it, then call `durable`."""
        if not self.dirty:
            return None
        self._pad()
        self._close_piece()
        for piece in self._closed_pieces:
            piece.written_at = now
        group = Group(self._closed_pieces, self._replaced)
        self._closed_pieces, self._replaced = [], []
        return group

    def durable(self, group: Group) -> None:
        """Take up a group that was synced: its events may be published, and replaced drafts are no longer needed."""
        for piece in group.pieces:
            if piece.last >= piece.first:
                self.backlog.add(piece)
            if piece.segment is not self._active and piece.end >= piece.segment.size:
                piece.segment.unmap()
                piece.segment.settled = True
        for segment in group.replaced:
            segment.opens -= 1
        self.collect()

    def collect(self) -> None:
        """Drop the oldest segments as long as nobody needs them."""
        while len(self._segments) > 1:
            oldest = self._segments[0]
            if oldest.pending or not oldest.settled:
                return
            if oldest.opens:
                if not oldest.carried and len(self._segments) > max(4, self._max_bytes // self._segment_bytes // 4):
                    self._carry(oldest)
                return
            del self._segments[0]
            self.bytes_used -= oldest.size
            self._disk.submit(oldest.delete)

    def prepare(self) -> None:
        """Have the next segment made, if there is none and one is allowed; also tries again after a full disk."""
        failed = self._prepared is not None and self._prepared.done() and self._prepared.exception() is not None
        if (self._prepared is None or failed) and self._allowed():
            self._number += 1
            self._prepared = self._disk.submit(Segment.create, self.folder, self._number, self._segment_bytes)

    def close(self) -> None:
        """Give back files and lock, once. If the ledger has everything, the folder is removed. Blocks."""
        if self._closed:
            return
        self._closed = True
        self._disk.shutdown()
        segments = list(self._segments)
        if self._prepared is not None and self._prepared.exception() is None:
            segments.append(self._prepared.result())
        for segment in segments:
            segment.close()
        if not self.open and self.backlog.acknowledged >= self.last_sequence:
            remove_folder(self.folder)
        os.close(self._lock)

    def _begin(self, segment: Segment) -> None:
        self._segments.append(segment)
        self.bytes_used += segment.size
        self._active, self._memory, self._limit = segment, segment.memory, segment.limit
        header = Header(self.producer, self.epoch, segment.number).following(segment.number)
        data = record.encode(Kind.HEADER, self.last_sequence, b"", b"", header)
        self._memory[: len(data)] = data
        self._position = len(data)
        self._group_start = self._group_size = 0
        self._group_first = self.last_sequence + 1

    def _turn_over(self, needed: int) -> None:
        if needed > self._segment_bytes - 3 * PAGE:
            raise SpoolFullError(f"a record of {needed} bytes does not fit into a segment")
        following = self._take_prepared()
        data = record.encode(Kind.END, 0, b"", b"", b"")
        self._memory[self._position : self._position + len(data)] = data
        self._position = self._active.size
        self._close_piece()
        self._begin(following)
        self.prepare()

    def _take_prepared(self) -> Segment:
        self.prepare()
        if self._prepared is None:
            raise SpoolFullError("the spool holds as much as it may")
        try:
            segment = self._prepared.result()
        except OSError as error:
            raise SpoolFullError(f"no space for the spool: {error}") from error
        self._prepared = None
        return segment

    def _allowed(self) -> bool:
        return self.bytes_used + self.others_bytes + self._segment_bytes <= self._max_bytes

    def _obtainable(self) -> int:
        if self._prepared is not None and self._prepared.done() and self._prepared.exception() is not None:
            return 0  # the disk is full; `prepare` tries again
        ready = self._segment_bytes if self._prepared is not None else 0
        return max(ready, self._max_bytes - self.bytes_used - self.others_bytes)

    def _pad(self) -> None:
        gap = -self._position % PAGE
        if 0 < gap < record.OVERHEAD:
            gap += PAGE
        if gap:
            data = record.padding(gap)
            self._memory[self._position : self._position + len(data)] = data
            self._position += gap

    def _close_piece(self) -> None:
        span = (self._group_start, self._position, self._group_first, self.last_sequence, self._group_size)
        piece = Piece(self._active, *span)
        self.backlog.keep(piece, self._events)
        self._closed_pieces.append(piece)
        self._events = []
        self._group_start, self._group_size = self._position, 0
        self._group_first = self.last_sequence + 1

    def _carry(self, segment: Segment) -> None:
        """Write the drafts that still stand in an old segment again, so that it can be dropped."""
        segment.carried = True
        drafts = {
            entry.request_id: entry
            for entry in record.scan(segment.read(0, segment.size))
            if entry.kind in DRAFT and self.open.get(entry.request_id) is segment
        }
        with suppress(SpoolFullError):  # then the old segment stays for as long as its requests run
            for entry in drafts.values():
                self.append(Kind.OPEN, entry.request_id, entry.tenant, entry.body)


def remove_folder(folder: Path) -> None:
    """Remove a spool's folder and the files in it; the lock last, so that nobody adopts what is being removed."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "lock"):
        path.unlink()
    folder.rmdir()
