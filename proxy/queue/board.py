"""What the workers of one proxy know together of one instance: a row of 64-bit words, in a list or in a mapped file.

    head · in flight of each worker · when each worker was last heard of · flows

A flow is one tenant's requests of one priority. How many are in flight a worker writes alone, without the lock; all the
rest changes under it. Times are milliseconds of CLOCK_MONOTONIC, which all processes of a machine share. Pure.
"""

from typing import Final

Words = memoryview | list[int]

NO_LIMIT: Final = 1 << 62
CAPACITY: Final = 0
WAITING: Final = 1
ARRIVALS: Final = 2
"""How many ever began to wait: the newest one's number."""
TURNS: Final = 3
"""How many of those were let in."""
STREAK: Final = 4
"""Interactive ones let in since the last of batch, while batch waited."""
FLOOR: Final = 5
"""Two words, by priority: where a flow begins when nobody waits."""
FLOWS: Final = 7
"""How many rows for flows were ever used."""
RATE: Final = 8
"""Three words: when the present stretch of time began, turns in it, turns in the one before."""
HEAD: Final = 11

NAME: Final = 0
"""A digest of tenant and priority, never 0. What follows are places in a flow's row, too."""
PRIORITY: Final = 1
COUNTER: Final = 2
"""Weighted tokens times `SCALE`, divided by the tenant's weight."""
LAST: Final = 3
"""The number of its last turn."""
WEIGHT: Final = 4
QUEUED: Final = 5
EACH: Final = 6
"""From here: how many wait at each worker; then, for each worker, the number of its oldest."""


class Board:
    """The words and their places. `length`: how many may wait, which bounds the flows, too."""

    __slots__ = ("first", "flight", "length", "rows", "seen", "stride", "words", "workers")

    def __init__(self, words: Words, workers: int, length: int) -> None:
        """`words` are `size` long; all zero but for the capacity where nobody wrote them yet."""
        self.words = words
        self.workers = workers
        self.length = length
        self.flight = HEAD
        self.seen = HEAD + workers
        self.first = HEAD + 2 * workers
        self.stride = EACH + 2 * workers
        self.rows = 2 * length + 2

    @staticmethod
    def size(workers: int, length: int) -> int:
        """Return how many words there are."""
        return HEAD + 2 * workers + (2 * length + 2) * (EACH + 2 * workers)

    @staticmethod
    def of_one(length: int, capacity: int) -> "Board":
        """Return that of a worker without others. `capacity` 0: no limit."""
        board = Board([0] * Board.size(1, length), 1, length)
        board.words[CAPACITY] = capacity or NO_LIMIT
        return board

    @property
    def in_flight(self) -> int:
        """How many requests are let in, and have not ended."""
        if self.workers == 1:
            return self.words[self.flight]
        return sum(self.words[self.flight : self.seen])

    @property
    def used(self) -> range:
        """The places of the rows that may hold a flow."""
        return range(self.first, self.first + self.words[FLOWS] * self.stride, self.stride)

    def find(self, name: int) -> int:
        """Return the place of a flow's row, or 0."""
        words = self.words
        for row in self.used:
            if words[row] == name:
                return row
        return 0

    def count(self, row: int, worker: int, change: int, oldest: int) -> None:
        """Note that more or fewer wait at a worker, and the number of the oldest among them (0: none)."""
        words = self.words
        words[row + EACH + worker] += change
        words[row + EACH + self.workers + worker] = oldest
        words[row + QUEUED] += change
        words[WAITING] += change

    def clear(self, worker: int) -> None:
        """Give back what a worker had that is gone. It may have died between two words: the sums are made anew."""
        words = self.words
        words[self.flight + worker] = words[self.seen + worker] = 0
        waiting = 0
        for row in self.used:
            each = row + EACH
            words[each + worker] = words[each + self.workers + worker] = 0
            words[row + QUEUED] = sum(words[each : each + self.workers])
            waiting += words[row + QUEUED]
        words[WAITING] = waiting
