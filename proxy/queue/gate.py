"""One worker's side of the queue of one instance: who holds a place, who waits, and who is told that it is their turn.

While there is room and nobody waits, a request passes without a lock: the worker announces it in a word of its own, and
then looks whether all announced have room. Two that announce at once may both step back, and ask again in order.
"""

import asyncio
import math
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from time import monotonic_ns
from typing import Final

from proxy.ports import Refusal
from proxy.queue.board import CAPACITY, NO_LIMIT, WAITING, Board
from proxy.queue.lines import Lines
from proxy.queue.order import NOBODY, Order
from proxy.queue.shared import Bells, Lock
from proxy.queue.turn import LEAST, Turn

LOOK_EVERY: Final = 0.05
"""Seconds between two looks at the board while something waits here and other workers could let it in without a word."""
MOST_SECONDS: Final = 600


class Gate:
    """One for each instance and worker."""

    __slots__ = (
        "_board",
        "_lines",
        "_lock",
        "_looking",
        "_mine",
        "_order",
        "_patience",
        "_ring",
        "_worker",
    )

    def __init__(
        self,
        board: Board,
        patience: float,
        worker: int = 0,
        lock: Lock | None = None,
        bells: Bells | None = None,
    ) -> None:
        """`patience`: how many seconds a request waits; `worker`: from 0; `lock` and `bells` None: there are no others."""
        self._board, self._order, self._worker = board, Order(board, worker), worker
        self._mine = board.flight + worker
        self._patience = patience
        self._lock = lock if lock is not None else Lock()
        self._ring: Callable[[int], None] | None = bells.ring if bells is not None else None
        self._lines = Lines(self._order)
        self._looking = False

    @staticmethod
    def alone(capacity: int, length: int, patience: float) -> "Gate":
        """Return that of a worker without others."""
        return Gate(Board.of_one(length, capacity), patience)

    @property
    def waiting(self) -> int:
        """How many wait at this worker."""
        return self._lines.waiting

    @property
    def in_flight(self) -> int:
        """How many requests of all workers are let in, and have not ended."""
        return self._board.in_flight

    @property
    def queued(self) -> int:
        """How many requests of all workers wait."""
        return self._board.words[WAITING]

    @property
    def capacity(self) -> int | None:
        """How many are let in at once; None: no limit is known."""
        capacity = self._board.words[CAPACITY]
        return capacity if capacity < NO_LIMIT else None

    @capacity.setter
    def capacity(self, capacity: int | None) -> None:
        self._board.words[CAPACITY] = capacity if capacity is not None else NO_LIMIT
        if self._board.words[WAITING]:
            self.look()

    def enter(self, turn: Turn) -> bool:
        """Let a request in if there is room and nobody waits; otherwise it has to `wait`."""
        board = self._board
        words = board.words
        words[self._mine] += 1
        if not words[WAITING] and board.in_flight <= words[CAPACITY]:
            turn.held = True
            return True
        words[self._mine] -= 1
        return False

    async def wait(self, turn: Turn) -> Refusal | None:
        """Wait for a turn; return None when it is there. Who is cancelled leaves the queue."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        expiry = loop.call_later(self._patience, _expire, waiter)
        try:
            with self._lock:
                if self._lines.join(turn, _name(turn.tenant, turn.priority)):
                    turn.waiter = waiter
            if turn.waiter is None:
                return self._overloaded(turn, "Too many requests wait for this server already.")
            self.look()
            if turn.held or await waiter:
                return None
            return self._overloaded(turn, f"This server had no room for the request in {self._patience:g} seconds.")
        except asyncio.CancelledError:
            self.leave(turn, 0)  # its turn may have come in the same moment
            raise
        finally:
            expiry.cancel()
            if turn.waiter is not None:
                with self._lock:
                    self._lines.drop(turn)
                self.look()

    def charge(self, turn: Turn, tokens: int) -> None:
        """Charge a request with the weighted tokens that it used so far."""
        if turn.held and self._board.words[WAITING] and tokens > (turn.charged or 0):
            with self._lock:
                self._settle(turn, tokens)

    def leave(self, turn: Turn, tokens: int | None) -> None:
        """End a turn, once. `tokens`: the weighted tokens that it used; None: that is not known."""
        if not turn.held:
            return
        turn.held = False
        words = self._board.words
        words[self._mine] -= 1
        if not words[WAITING] and turn.charged is None:
            return
        if tokens is not None:
            with self._lock:
                self._settle(turn, tokens)
        self.look()

    def look(self) -> None:
        """Let in whose turn it is, or wake the worker where they wait."""
        now = monotonic_ns() // 1_000_000
        with self._lock:
            while (found := self._order.next(now)) != NOBODY:
                row, worker = found
                if worker != self._worker:
                    assert self._ring is not None
                    self._ring(worker)
                    break
                turn = self._lines.first(row)
                waiter = turn.waiter
                assert waiter is not None
                if waiter.done():  # it waits no more, and is not awake yet
                    self._lines.drop(turn)
                else:
                    self._lines.let_in(turn, now)
                    waiter.set_result(True)
        self._look_later()

    def _settle(self, turn: Turn, tokens: int) -> None:
        row = self._order.flow(_name(turn.tenant, turn.priority), turn.priority)
        used = max(tokens, LEAST)
        self._order.charge(row, used - (turn.charged or 0), turn.weight)
        turn.charged = used

    def _look_later(self) -> None:
        """Other workers may let go of places, and die, without ringing."""
        if self._ring is not None and self._lines.waiting and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_again)

    def _look_again(self) -> None:
        self._looking = False
        if self._lines.waiting:
            self.look()

    def _overloaded(self, turn: Turn, message: str) -> Refusal:
        """Refuse, and say when to come again: when the tenant's requests that wait now will have had their turns."""
        with self._lock:
            row = self._order.flow(_name(turn.tenant, turn.priority), turn.priority)
            seconds = self._order.wait_seconds(row, turn.weight, monotonic_ns() // 1_000_000)
        seconds = self._patience if seconds is None else seconds
        return Refusal("server_overloaded", message, retry_after=min(max(1, math.ceil(seconds)), MOST_SECONDS))


def _expire(waiter: "asyncio.Future[bool]") -> None:
    if not waiter.done():
        waiter.set_result(False)


@lru_cache(maxsize=4096)
def _name(tenant: str, priority: str) -> int:
    return int.from_bytes(blake2b(f"{priority} {tenant}".encode(), digest_size=7).digest()) + 1
