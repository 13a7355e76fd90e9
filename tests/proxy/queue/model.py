"""An instance that does nothing: requests are let in by the order, run for as long as the test likes, and use what it says."""

from collections import deque
from dataclasses import dataclass

from contracts.limits import Priority
from proxy.queue.board import CAPACITY, COUNTER, NO_LIMIT, WAITING, Board
from proxy.queue.order import NOBODY, Order


@dataclass(eq=False)
class Sent:
    flow: str
    worker: int
    estimate: int
    priority: Priority = "interactive"
    weight: int = 100
    number: int = 0
    row: int = 0

    @property
    def name(self) -> int:
        return 1 + int.from_bytes(f"{self.priority[0]}{self.flow}".encode())


class Instance:
    """Workers in front of one instance, each with its own lines; `let_in` is in the order in which it happened."""

    def __init__(self, capacity: int, workers: int = 1, length: int = 1000) -> None:
        self.board = Board([0] * Board.size(workers, length), workers, length)
        self.board.words[CAPACITY] = capacity or NO_LIMIT
        self.orders = [Order(self.board, worker) for worker in range(workers)]
        self.lines: list[dict[int, deque[Sent]]] = [{} for _ in range(workers)]
        self.running: list[Sent] = []
        self.let_in: list[Sent] = []
        self.now = 1_000_000

    @property
    def capacity(self) -> int:
        return self.board.words[CAPACITY]

    @property
    def waiting(self) -> int:
        assert self.board.words[WAITING] == sum(len(line) for lines in self.lines for line in lines.values())
        return self.board.words[WAITING]

    def send(self, sent: Sent) -> bool:
        """Let a request wait, and in if it is its turn; return whether there was room to wait."""
        order = self.orders[sent.worker]
        sent.row = order.join(sent.name, sent.priority, sent.weight)
        if not sent.row:
            return False
        line = self.lines[sent.worker].setdefault(sent.row, deque())
        sent.number = order.add(sent.row, line[0].number if line else 0)
        line.append(sent)
        self.look(sent.worker)
        return True

    def leave(self, sent: Sent) -> None:
        """Have a request wait no more."""
        line = self.lines[sent.worker][sent.row]
        line.remove(sent)
        self.orders[sent.worker].drop(sent.row, line[0].number if line else 0)
        self.look(sent.worker)

    def end(self, sent: Sent, tokens: int) -> None:
        """End a request that used so many weighted tokens."""
        self.running.remove(sent)
        self.board.words[self.board.flight + sent.worker] -= 1
        order = self.orders[sent.worker]
        order.charge(order.flow(sent.name, sent.priority), tokens - sent.estimate, sent.weight)
        self.look(sent.worker)

    def look(self, worker: int) -> None:
        """Let in whose turn it is; a worker whose turn it is not wakes the one whose it is."""
        while (found := self.orders[worker].next(self.now)) != NOBODY:
            row, worker = found
            line = self.lines[worker][row]
            sent = line.popleft()
            oldest = line[0].number if line else 0
            self.orders[worker].let_in(row, oldest, sent.estimate, sent.weight, self.now)
            self.running.append(sent)
            self.let_in.append(sent)

    def heard_of(self) -> None:
        """Have all workers be there."""
        for worker in range(self.board.workers):
            self.board.words[self.board.seen + worker] = self.now

    def counter(self, sent: Sent) -> int:
        return self.board.words[self.board.find(sent.name) + COUNTER]
