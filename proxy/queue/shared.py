"""How the workers of one proxy share a board: a file in memory for each instance, and a bell for each worker.

The parent makes them, and hands them to its workers as open files; nothing of them is left on disk. The lock is one that
ends with the process that holds it.
"""

import asyncio
import fcntl
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from proxy.queue.board import CAPACITY, NO_LIMIT, Board

_WORD: Final = 8


class Lock:
    """Lets one worker at a time change a board. Held for microseconds: the event loop may wait for it."""

    __slots__ = ("_file",)

    def __init__(self, file: int | None = None) -> None:
        """`file` None: nobody else is there."""
        self._file = file

    def __enter__(self) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


class Bells:
    """Wakes workers. A bell that was rung and not heard yet does not ring twice."""

    def __init__(self, files: tuple[int, ...], own: int) -> None:
        """`own`: the place of this worker's."""
        self._files, self._own = files, own

    def listen(self, heard: Callable[[], None]) -> None:
        """Have `heard` called when this worker's bell rings, for as long as the running loop runs."""
        file = self._files[self._own]

        def ring() -> None:
            with suppress(BlockingIOError):
                os.eventfd_read(file)
            heard()

        asyncio.get_running_loop().add_reader(file, ring)

    def ring(self, worker: int) -> None:
        """Wake a worker."""
        os.eventfd_write(self._files[worker], 1)


class Shared:
    """All that a proxy's workers share of their queues, as the parent keeps it."""

    def __init__(self, instances: int, workers: int, length: int, capacity: int) -> None:
        """`capacity` of each instance, 0: it is learned."""
        self.files = tuple(_make(workers, length) for _ in range(instances))
        self.bells = tuple(os.eventfd(0, os.EFD_NONBLOCK) for _ in range(workers))
        self._boards = [open_board(file, workers, length) for file in self.files]
        for board in self._boards:
            board.words[CAPACITY] = capacity or NO_LIMIT

    def clear(self, worker: int) -> None:
        """Give back what a worker had that is gone."""
        for file, board in zip(self.files, self._boards, strict=True):
            with Lock(file):
                board.clear(worker)
        for bell in self.bells:
            os.eventfd_write(bell, 1)

    def close(self) -> None:
        """Let go of all."""
        for file in self.files + self.bells:
            os.close(file)


def open_board(file: int, workers: int, length: int) -> Board:
    """Return the board in a file that `Shared` made."""
    return Board(memoryview(mmap.mmap(file, _bytes(workers, length))).cast("q"), workers, length)


def _make(workers: int, length: int) -> int:
    file = os.memfd_create("weighbridge-queue")
    os.ftruncate(file, _bytes(workers, length))
    return file


def _bytes(workers: int, length: int) -> int:
    return Board.size(workers, length) * _WORD
