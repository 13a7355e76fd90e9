"""Whose turn it is: a virtual token counter for each flow (Sheng et al., OSDI 2024), weighted. Pure; `now` is in milliseconds.

The flow with the lowest counter is let in next; a counter grows by what the flow's requests used, divided by its tenant's
weight. A flow that begins to wait is lifted to the lowest counter of those that wait already: nobody saves up credit. What
ends while nobody waits, and never waited, is not counted: nobody lacked it.

Interactive goes before batch. But of ten turns that are given while both wait, one is batch's.
"""

from typing import Final

from contracts.limits import Priority
from proxy.queue.board import (
    ARRIVALS,
    CAPACITY,
    COUNTER,
    EACH,
    FLOOR,
    FLOWS,
    LAST,
    NAME,
    PRIORITY,
    QUEUED,
    STREAK,
    TURNS,
    WAITING,
    WEIGHT,
    Board,
)
from proxy.queue.rate import count, per_second

SCALE: Final = 10_000
"""The largest weight: a token is never less than 1."""
BATCH_EVERY: Final = 10
SILENT: Final = 1000
"""Milliseconds after which a worker that was not heard of is passed over: it would hold up the others."""
NOBODY: Final = (0, 0)
_CLASSES: Final[dict[Priority, int]] = {"interactive": 0, "batch": 1}


class Order:
    """The order of one instance, as one of its workers drives it. All of it needs the lock."""

    __slots__ = ("_board", "_worker")

    def __init__(self, board: Board, worker: int) -> None:
        self._board, self._worker = board, worker

    def join(self, name: int, priority: Priority, weight: int) -> int:
        """Return the row of a flow in which one more may wait, 0 when there is no room.

        A flow has at most as many waiting as places are left to all others: so even when many are greedy, there is room for
        one that was not there before.
        """
        board, words = self._board, self._board.words
        free = board.length - words[WAITING]
        if free <= 0:
            return 0
        row = self.flow(name, priority)
        if words[row + QUEUED] >= free:
            return 0
        if not words[row + QUEUED]:
            words[row + COUNTER] = max(words[row + COUNTER], self._floor(_CLASSES[priority]))
        words[row + WEIGHT] = weight
        return row

    def add(self, row: int, oldest: int) -> int:
        """Let one more of this worker's wait; return its number. `oldest` is that of the one ahead of all, 0: itself."""
        words = self._board.words
        words[ARRIVALS] += 1
        self._board.count(row, self._worker, 1, oldest or words[ARRIVALS])
        return words[ARRIVALS]

    def drop(self, row: int, oldest: int) -> None:
        """Let one of this worker's wait no more; `oldest` is then ahead of all, 0: nobody is left."""
        self._board.count(row, self._worker, -1, oldest)

    def next(self, now: int) -> tuple[int, int]:
        """Return the row and the worker of the one to be let in; NOBODY when none waits or there is no room."""
        board, words = self._board, self._board.words
        words[board.seen + self._worker] = now
        if not words[WAITING] or board.in_flight >= words[CAPACITY]:
            return NOBODY
        best, other = self._first(0, now), self._first(1, now)
        if best == NOBODY or (other != NOBODY and words[STREAK] >= BATCH_EVERY - 1):
            return other
        return best

    def let_in(self, row: int, oldest: int, tokens: int, weight: int, now: int) -> None:
        """Give one of this worker's its turn, and charge it with its input; `oldest` as with `drop`."""
        board, words = self._board, self._board.words
        board.count(row, self._worker, -1, oldest)
        words[board.flight + self._worker] += 1
        words[TURNS] += 1
        words[row + LAST] = words[TURNS]
        if words[row + PRIORITY]:
            words[STREAK] = 0
        elif self._waits(1):
            words[STREAK] += 1
        self.charge(row, tokens, weight)
        floor = FLOOR + words[row + PRIORITY]
        words[floor] = max(words[floor], words[row + COUNTER])
        count(words, now)

    def charge(self, row: int, tokens: int, weight: int) -> None:
        """Add weighted tokens to a flow's counter; fewer than none where it was charged with too many."""
        self._board.words[row + COUNTER] += tokens * SCALE // weight

    def flow(self, name: int, priority: Priority) -> int:
        """Return a flow's row; one that is not known begins where the others are."""
        row = self._board.find(name)
        if row:
            return row
        words, kind = self._board.words, _CLASSES[priority]
        row = self._room()
        words[row + PRIORITY], words[row + COUNTER], words[row + LAST] = kind, self._floor(kind), 0
        words[row + NAME] = name
        return row

    def wait_seconds(self, row: int, weight: int, now: int) -> float | None:
        """Return how long one more of a flow would wait at the present pace; None: nobody who waited was let in lately."""
        words = self._board.words
        pace = per_second(words, now)
        if not pace:
            return None
        kind = words[row + PRIORITY]
        share = weight / (weight + sum(words[each + WEIGHT] for each in self._waiting(kind) if each != row))
        if self._waits(1 - kind):
            share *= 1 / BATCH_EVERY if kind else 1 - 1 / BATCH_EVERY
        return (words[row + QUEUED] + 1) / (pace * share)

    def _first(self, kind: int, now: int) -> tuple[int, int]:
        words = self._board.words
        best, least = NOBODY, (0, 0)
        for row in self._waiting(kind):
            place = words[row + COUNTER], words[row + LAST]
            if best == NOBODY or place < least:
                worker = self._oldest(row, now)
                if worker >= 0:
                    best, least = (row, worker), place
        return best

    def _oldest(self, row: int, now: int) -> int:
        """Return the worker whose request of a flow came first; -1 when none of them is heard of."""
        board, words = self._board, self._board.words
        heads = row + EACH + board.workers
        found, least = -1, 0
        for worker in range(board.workers):
            head = words[heads + worker]
            if head and (found < 0 or head < least) and now - words[board.seen + worker] <= SILENT:
                found, least = worker, head
        return found

    def _waiting(self, kind: int) -> list[int]:
        words = self._board.words
        return [row for row in self._board.used if words[row + QUEUED] > 0 and words[row + PRIORITY] == kind]

    def _waits(self, kind: int) -> bool:
        return bool(self._waiting(kind))

    def _floor(self, kind: int) -> int:
        words = self._board.words
        return min((words[row + COUNTER] for row in self._waiting(kind)), default=words[FLOOR + kind])

    def _room(self) -> int:
        """Return a row that is free: one whose flow would be lifted anyway, a new one, or that of the flow furthest behind."""
        board, words = self._board, self._board.words
        idle = [row for row in board.used if not words[row + QUEUED]]
        floors = (self._floor(0), self._floor(1))
        least = min(idle, key=lambda row: words[row + COUNTER] - floors[words[row + PRIORITY]], default=0)
        if least and (words[least + COUNTER] <= floors[words[least + PRIORITY]] or words[FLOWS] >= board.rows):
            return least
        words[FLOWS] += 1
        return board.first + (words[FLOWS] - 1) * board.stride
