"""One file of the spool: preallocated, memory-mapped while it is written, read back with `pread`.

Its blocks are allocated and that is synced before the first record goes in, so that a full disk shows as an error when the
file is made and never as SIGBUS later, and its pages are faulted in for writing, so that a store never waits for the file
system. Both take milliseconds: do them in a thread. Nothing is written ahead: zeros in the page cache would stand in large
folios, of which every sync writes the whole and takes the right to write from all pages.
"""

import ctypes
import mmap
import os
from pathlib import Path
from typing import Final

PAGE: Final = mmap.PAGESIZE
SUFFIX: Final = ".seg"
_STEP: Final = 1 << 20
_MADV_POPULATE_WRITE: Final = 23  # Linux 5.14; without it the first store to a page may wait
_MS_SYNC: Final = 4
# Python's own mmap methods keep the interpreter lock while they wait for the disk; calls through ctypes release it.
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Segment:
    """A segment that is written or waits for its acknowledgement.

    `opens` counts the running requests whose latest draft stands here, `pending` the pieces that the ledger has not
    acknowledged, `settled` says that all of it is on disk and nothing more will be written.
    """

    def __init__(self, path: Path, number: int, size: int, descriptor: int, memory: mmap.mmap | None) -> None:
        self.path, self.number, self.size = path, number, size
        self.opens = self.pending = 0
        self.carried = False
        self.settled = memory is None
        self._descriptor = descriptor
        self._memory = memory
        self._address = 0 if memory is None else ctypes.addressof(ctypes.c_char.from_buffer(memory))

    @classmethod
    def create(cls, folder: Path, number: int, size: int) -> "Segment":
        """Make the file, all of its blocks allocated. Blocks. Raises OSError, ENOSPC among them, and then leaves nothing."""
        path = segment_path(folder, number)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            os.fsync(descriptor)
            sync_folder(folder)
            memory = mmap.mmap(descriptor, size)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        segment = cls(path, number, size, descriptor, memory)
        for offset in range(0, size, _STEP):
            _libc.madvise(segment._address + offset, min(_STEP, size - offset), _MADV_POPULATE_WRITE)
        return segment

    @classmethod
    def reopen(cls, folder: Path, number: int) -> "Segment":
        """Open a file that another process wrote, to read it. Raises OSError."""
        path = segment_path(folder, number)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return cls(path, number, os.fstat(descriptor).st_size, descriptor, None)

    @property
    def limit(self) -> int:
        """Where records must end, so that padding to the next page and an END record always fit behind them."""
        return self.size - 2 * PAGE

    @property
    def memory(self) -> mmap.mmap:
        """The map to write to. Only the segment that is appended to has one."""
        assert self._memory is not None
        return self._memory

    def read(self, start: int, end: int) -> bytes:
        """Return what stands in `[start, end)`; the page cache shows what the map holds."""
        return os.pread(self._descriptor, end - start, start)

    def sync(self, start: int, end: int) -> None:
        """Bring `[start, end)` to the disk; `start` is on a page. Blocks without the interpreter lock; raises OSError."""
        if _libc.msync(self._address + start, end - start, _MS_SYNC) != 0:
            raise OSError(ctypes.get_errno(), f"cannot bring {self.path} to the disk")

    def unmap(self) -> None:
        """Give back the map: nothing more is written."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def close(self) -> None:
        """Give back map and file descriptor; the file stays."""
        self.unmap()
        os.close(self._descriptor)

    def delete(self) -> None:
        """Close it and remove the file."""
        self.close()
        self.path.unlink()


def segment_path(folder: Path, number: int) -> Path:
    """Return where segment `number` of a spool stands."""
    return folder / f"{number:08d}{SUFFIX}"


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, so that a new file's name survives a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
