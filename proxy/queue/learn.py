"""How many requests an instance takes at once, learned from what it says of itself. Pure.

vLLM runs as many as its memory holds, and lets the others wait. There, they go first come first served; so nearly all
that wait should wait here. A few stay there, so that the engine is never short of work between two looks.
"""

from typing import Final

import msgspec

SLACK: Final = 16
"""One request may wait at the engine for each so many that run."""
AGREE: Final = 2
"""So many readings in a row must say that too many wait at the engine: one alone may have met a burst."""
GROWTH: Final = 4
"""Where the engine is short of work, a quarter more are let in."""


class Reading(msgspec.Struct, frozen=True):
    """What was seen at one moment: requests let in and waiting here, and running and waiting at the engine."""

    in_flight: int
    queued: int
    running: int | None
    waiting: int | None


class Learner:
    """Turns readings into a capacity. `capacity` None: none is known, so that all are let in."""

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self._crowded = 0

    def learn(self, reading: Reading) -> int | None:
        """Return the capacity after a reading. Between too many that wait at the engine and none, it stays what it was."""
        running, waiting = reading.running, reading.waiting
        if running is None or waiting is None:
            self._crowded = 0
            return self.capacity
        slack = max(1, running // SLACK)
        self._crowded = self._crowded + 1 if waiting > 2 * slack and reading.in_flight else 0
        if self._crowded >= AGREE:
            self._crowded = 0
            # In requests of ours: one may be several of the engine's, and others may send it some, too.
            self.capacity = max(1, -(-reading.in_flight * (running + slack) // (running + waiting)))
        elif self.capacity is not None and not waiting and reading.queued and reading.in_flight >= self.capacity:
            self.capacity += max(1, self.capacity // GROWTH)
        return self.capacity
