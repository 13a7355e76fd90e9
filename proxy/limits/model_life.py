"""The model's other half: which processes are there, and which life the counters are in, as `attend.lua` has it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.limits.wire import Attendance


@dataclass
class Life:
    """What counters of one life have in common. `waiting`: processes that may hold something, and have not declared it."""

    server: str
    life: int
    ready: int
    waiting: dict[str, bool] = field(default_factory=dict)
    veteran: bool = False


class Attended:
    """A store that processes attend. `server` and `started` are of the server that it stands for."""

    def __init__(self, server: str, started: int) -> None:
        self.server, self.started = server, started
        self.life: Life | None = None
        self.processes: dict[str, int] = {}

    def attend(
        self, process: str, life: int, *, declared: bool, lost: bool, lease: int, known: Sequence[str], now: int
    ) -> Attendance:
        """Note that a process is there, and say which life the counters are in."""
        row = self.life
        if row is None or row.server != self.server or life > row.life or (lost and life == row.life):
            fresh = row is None and life == 0
            ready = now + lease - (now - self.started if fresh else 0)
            row = self.life = Life(self.server, max(now, life + 1, row.life + 1 if row else 0), ready)
            row.waiting = dict.fromkeys(self.processes, True)
        if now < row.ready:
            self._declared(row, process, life, declared, lease, known, now)
        self.processes[process] = now
        self.processes = {name: seen for name, seen in self.processes.items() if seen > now - 2 * lease}
        there = sorted(self.processes, key=lambda name: (self.processes[name], name))
        return Attendance(row.life, row.ready, now, self.server, tuple(there))

    def _declared(
        self, row: Life, process: str, life: int, declared: bool, lease: int, known: Sequence[str], now: int
    ) -> None:
        if 0 < life < row.life:
            row.veteran = True
            row.waiting = dict.fromkeys(known, True) | row.waiting
        row.waiting.setdefault(process, True)
        if declared and life == row.life:
            row.waiting[process] = False
        if row.veteran and not any(row.waiting.values()) and now >= row.life + lease * 2 // 5:
            row.ready = now
