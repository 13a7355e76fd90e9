"""Folders under SPOOL_DIR: a spool is made and locked here, and taken over when its process is gone.

The lock is an flock on the file `lock`: the kernel frees it when the process ends, however it ends. Whoever gets the lock of
a folder that is not its own is its only heir: it seals what can be trusted, writes a `proxy_lost` event for each request that
was still open, and publishes what is left until the ledger has all of it.
"""

import fcntl
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from proxy.spool import record
from proxy.spool.backlog import Backlog, Piece
from proxy.spool.header import Header
from proxy.spool.record import Kind, Record
from proxy.spool.recovery import Recovery, Span, extend, recover
from proxy.spool.segment import PAGE, Segment, segment_path, sync_folder
from proxy.spool.spool import SEGMENT_BYTES, Spool, remove_folder

LOCK: Final = "lock"
Lost = Callable[[Header, Record, int, datetime], bytes]
"""Makes the usage event of a request that was lost: from the spool's header, its draft, its sequence, and now."""


class Adopted:
    """The spool of a dead process: nothing is appended to it, and it goes away when the ledger has all of it."""

    def __init__(self, folder: Path, lock: int, header: Header, segments: list[Segment], lost: int) -> None:
        self.folder = folder
        self.lost = lost
        """How many requests were open when the process died."""
        self.producer, self.epoch = header.producer, header.epoch
        self.backlog = Backlog()
        self._lock = lock
        self._segments = segments

    @property
    def bytes_used(self) -> int:
        """Bytes on disk that the ledger has not let go of."""
        return sum(segment.size for segment in self._segments)

    def collect(self) -> None:
        """Drop the oldest segments that the ledger has. Blocks for as long as a file takes to go."""
        while self._segments and not self._segments[0].pending:
            self._segments.pop(0).delete()

    def close(self) -> None:
        """Give back files and lock. If the ledger has everything, the folder is removed."""
        for segment in self._segments:
            segment.close()
        if not self.backlog:
            remove_folder(self.folder)
        os.close(self._lock)


def create(home: Path, header: Header, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> Spool:
    """Make and lock the spool of a new epoch under `home`. Blocks; raises OSError."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    nascent = home / f".{header.epoch}"  # nobody adopts it before it is locked and has its name
    nascent.mkdir(mode=0o700)
    lock = os.open(nascent / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = nascent.rename(home / header.epoch)
    sync_folder(home)
    return Spool(folder, lock, header, segment_bytes, max_bytes)


def folders(home: Path) -> list[Path]:
    """Return the spools under `home`, whoever holds them."""
    return sorted(path for path in home.iterdir() if path.is_dir() and not path.name.startswith("."))


def adopt(folder: Path, lost: Lost, now: datetime) -> Adopted | None:
    """Take over a spool that nobody holds. None: somebody does, or there was nothing in it (and it is gone).

    Blocks. Raises OSError, or what `lost` raises; nobody then holds the spool, and nothing in it was lost.
    """
    lock = _lock(folder)
    if lock is None:
        return None
    try:
        return _take_over(folder, lock, lost, now)
    except BaseException:
        os.close(lock)
        raise


def _lock(folder: Path) -> int | None:
    """Return the locked file's descriptor, or None when somebody else holds it or it is just being removed."""
    path = folder / LOCK
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _take_over(folder: Path, lock: int, lost: Lost, now: datetime) -> Adopted | None:
    found = recover(folder)
    if found is None:
        remove_folder(folder)
        os.close(lock)
        return None
    _seal(folder, found)
    pieces = {each.number: each.spans for each in found.segments}
    number = found.segments[-1].number
    if found.drafts:
        number += 1
        pieces[number] = _write_lost(folder, number, found, lost, now)
    segments = [Segment.reopen(folder, each) for each in pieces]
    heritage = Adopted(folder, lock, found.header, segments, len(found.drafts))
    for segment, spans in zip(segments, pieces.values(), strict=True):
        for span in spans:
            piece = Piece(segment, span.start, span.end, span.first, span.last, span.size, time.monotonic())
            heritage.backlog.add(piece)
    return heritage


def _seal(folder: Path, found: Recovery) -> None:
    """Make what recovery trusted the only thing that any later recovery can see, and bring it to the disk."""
    for path in found.rejected:
        path.unlink()
    sync_folder(folder)
    for each in found.segments:
        with segment_path(folder, each.number).open("r+b", buffering=0) as file:
            if not each.sealed:
                file.seek(each.end)
                file.write(record.encode(Kind.END, 0, b"", b"", b""))
            os.fsync(file.fileno())


def _write_lost(folder: Path, number: int, found: Recovery, lost: Lost, now: datetime) -> list[Span]:
    """Write the ends of the requests that were open into a segment of their own; on disk when this returns."""
    data = bytearray(record.encode(Kind.HEADER, found.last_sequence, b"", b"", found.header.following(number)))
    spans: list[Span] = []
    for sequence, draft in enumerate(found.drafts.values(), found.last_sequence + 1):
        body = lost(found.header, draft, sequence, now)
        start = len(data)
        data += record.encode(Kind.USAGE, sequence, draft.request_id, draft.tenant, body)
        extend(spans, start, Record(Kind.USAGE, sequence, draft.request_id, draft.tenant, body, len(data)))
    data += record.encode(Kind.END, 0, b"", b"", b"")
    segment = Segment.create(folder, number, -(-len(data) // PAGE) * PAGE)
    segment.memory[: len(data)] = bytes(data)
    segment.sync(0, segment.size)
    segment.close()
    return spans
