"""Keeps parts running: starts them in order, starts again what dies, ends them in reverse.

One thread that looks round every tenth of a second. It restarts what has ended, never what is merely slow: a part that hangs
may still be doing the right thing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from embedded import backoff
from embedded.child import Child, keep_small, last_line
from embedded.parts import Part

TICK_SECONDS: Final = 0.1
START_SECONDS: Final = 60.0
GRACE_SECONDS: Final = 15.0
SAY_AFTER_SECONDS: Final = 2.0
FIRST_TRIES: Final = 3
WRONG_USE: Final = 2
"""The exit status of a part whose settings are wrong: trying again would not help."""

log = structlog.get_logger()


class PartFailedError(Exception):
    """A part could not be started; the message names it, its log and the last thing it said."""

    def __init__(self, part: Part, reason: str, log_file: Path, status: int | None) -> None:
        super().__init__(f"{part.name} {reason}: {last_line(log_file)} (see {log_file})")
        self.status = status


class StoppedError(Exception):
    """Somebody asked for the end while parts were being started."""


@dataclass
class _Slot:
    """A part's place: its child while it has one, when that was started, and when the next may be."""

    part: Part
    child: Child | None = None
    ready: bool = False
    started: float = 0.0
    deaths: int = 0
    status: int | None = None
    not_before: float = 0.0


class Supervisor:
    """Parts by level: a level starts when all parts of the one before are ready.

    `changed` is called whenever the live processes are others than before and all are ready.
    """

    def __init__(self, logs: Path, changed: Callable[[], None]) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._changed = changed
        self._levels: list[list[_Slot]] = []
        self._stopping = False

    def request_stop(self) -> None:
        """Make `start` or `watch` return soon. Safe in a signal handler."""
        self._stopping = True

    def pids(self) -> dict[str, list[int]]:
        """Return the ids of the live processes by kind; of each part its own first, then its workers'."""
        found: dict[str, list[int]] = {}
        for slot in self._slots():
            if slot.child is not None:
                found.setdefault(slot.part.kind, []).extend(slot.child.family())
        return found

    def run_once(self, part: Part) -> None:
        """Run a part to its end; raises PartFailedError when that is not 0."""
        child = Child(part, self._log(part))
        try:
            while (status := child.exit_status()) is None:
                self._breathe()
        finally:
            child.kill()
        if status != 0:
            raise PartFailedError(part, "failed", self._log(part), status)

    def start(self, parts: Sequence[Part]) -> None:
        """Start the parts of the next level and wait until all are ready; raises PartFailedError, StoppedError."""
        slots = [_Slot(part) for part in parts]
        self._levels.append(slots)
        deadline = time.monotonic() + START_SECONDS
        while not all(slot.ready for slot in slots):
            self._look_round()
            for slot in slots:
                self._give_up_on(slot, deadline)
            self._breathe()

    def watch(self) -> None:
        """Keep all parts running until a stop is requested."""
        reported = self.pids()
        rotated = time.monotonic()
        while not self._stopping:
            self._look_round()
            now = self.pids()
            if now != reported and all(slot.ready for slot in self._slots()):
                reported = now
                self._changed()
            if time.monotonic() - rotated > 5:
                rotated = time.monotonic()
                for slot in self._slots():
                    keep_small(self._log(slot.part))
            time.sleep(TICK_SECONDS)

    def stop(self, waiting: Callable[[list[str]], None] = lambda _parts: None) -> None:
        """End all parts, the last level first; what has not ended within its grace is killed.

        `waiting` is told the names of those that take long.
        """
        while self._levels:
            children = [slot.child for slot in self._levels.pop() if slot.child is not None]
            for child in children:
                child.terminate()
            began, told = time.monotonic(), False
            while left := [child.part.name for child in children if child.exit_status() is None]:
                waited = time.monotonic() - began
                if waited > GRACE_SECONDS:
                    break
                if waited > SAY_AFTER_SECONDS and not told:
                    told = True
                    waiting(left)
                time.sleep(TICK_SECONDS / 2)
            for child in children:
                child.kill()

    def _slots(self) -> list[_Slot]:
        return [slot for level in self._levels for slot in level]

    def _log(self, part: Part) -> Path:
        return self._logs / f"{part.name}.log"

    def _breathe(self) -> None:
        if self._stopping:
            raise StoppedError
        time.sleep(TICK_SECONDS)

    def _look_round(self) -> None:
        slots = self._slots()
        now = time.monotonic()
        for slot in slots:
            if slot.child is not None and (status := slot.child.exit_status()) is not None:
                self._bury(slot, now, status)
        ready = {slot.part.name for slot in slots if slot.ready}
        for slot in slots:
            if not ready.issuperset(slot.part.needs):
                _end_with_what_it_needs(slot)
            elif slot.child is None and now >= slot.not_before:
                slot.child, slot.started = Child(slot.part, self._log(slot.part)), now
            elif slot.child is not None and not slot.ready:
                slot.ready = slot.child.ready()

    def _bury(self, slot: _Slot, now: float, status: int) -> None:
        assert slot.child is not None
        slot.child.kill()  # its group: workers that it left behind
        slot.status = status
        slot.deaths = backoff.deaths_in_a_row(slot.deaths, now - slot.started)
        slot.not_before = now + backoff.wait_seconds(slot.deaths)
        slot.child, slot.ready = None, False
        log.warning("part ended", part=slot.part.name, status=status, deaths=slot.deaths)

    def _give_up_on(self, slot: _Slot, deadline: float) -> None:
        """Raise when a part's first start will not succeed."""
        if slot.ready:
            return
        if slot.deaths >= FIRST_TRIES or (slot.deaths and slot.status == WRONG_USE):
            raise PartFailedError(slot.part, "did not start", self._log(slot.part), slot.status)
        if time.monotonic() > deadline:
            raise PartFailedError(slot.part, f"was not ready in {START_SECONDS:.0f} s", self._log(slot.part), None)


def _end_with_what_it_needs(slot: _Slot) -> None:
    """Kill rather than ask: what it would still say to a broker that came back empty would be about the old one."""
    if slot.child is not None:
        slot.child.kill()
        slot.child, slot.ready = None, False
        log.info("part ended with what it needs", part=slot.part.name, needs=slot.part.needs)
