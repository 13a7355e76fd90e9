"""The requests that wait at one worker: a line for each flow. All of it needs the lock of the board."""

from collections import deque
from typing import Final

from proxy.queue.order import Order
from proxy.queue.turn import Turn

MOST_BYTES: Final = 256 << 20
"""How large the bodies of all that wait at one worker may be together."""


class Lines:
    """One for each instance and worker."""

    __slots__ = ("_bytes", "_lines", "_order", "waiting")

    def __init__(self, order: Order) -> None:
        self.waiting = 0
        """How many wait."""
        self._order = order
        self._lines: dict[int, deque[Turn]] = {}
        self._bytes = 0

    def join(self, turn: Turn, name: int) -> bool:
        """Put a request at the end of the line of the flow `name`; return whether there was room."""
        if self._bytes + turn.size > MOST_BYTES:
            return False
        turn.row = row = self._order.join(name, turn.priority, turn.weight)
        if not row:
            return False
        line = self._lines.setdefault(row, deque())
        turn.number = self._order.add(row, line[0].number if line else 0)
        line.append(turn)
        self.waiting += 1
        self._bytes += turn.size
        return True

    def first(self, row: int) -> Turn:
        """Return who is ahead in the line of the flow that has this row."""
        return self._lines[row][0]

    def let_in(self, turn: Turn, now: int) -> None:
        """Give a turn to whoever is ahead of a line."""
        turn.held, turn.charged = True, turn.estimate
        self._order.let_in(turn.row, self._without(turn), turn.estimate, turn.weight, now)

    def drop(self, turn: Turn) -> None:
        """Take whoever waits no more out of the line."""
        self._order.drop(turn.row, self._without(turn))

    def _without(self, turn: Turn) -> int:
        """Return the number of who is now ahead of the line, 0: nobody."""
        line = self._lines[turn.row]
        line.remove(turn)
        turn.waiter = None
        self.waiting -= 1
        self._bytes -= turn.size
        if line:
            return line[0].number
        del self._lines[turn.row]
        return 0
