"""How much of a counter is in demand here, and what is known of it being full. Pure; times are seconds, as in `counter`."""

from typing import Final

QUICK: Final = 0.25
"""Seconds: who asks again so soon gets twice as large a slice, who does not, half."""


class Pace:
    """The part of a counter that sizes its slice and turns away what does not fit."""

    def __init__(self) -> None:
        self.free = 0
        """What may be taken from the slice."""
        self.taken = 0
        """What was taken since the last look (`idle`)."""
        self.wanted = 0
        """What requests that wait for Redis need."""
        self.size = 0
        self.asked_at = 0.0
        self.full_need = 0
        self.full_until = 0.0
        """Until then a need of `full_need` or more does not fit, as far as is known."""
        self.fits_at = 0.0

    def resize(self, now: float) -> int:
        """Return how much to ask for beyond what is needed, by how soon it asks again."""
        soon = now - self.asked_at < QUICK
        self.asked_at = now
        self.size = max(2 * self.size, self.taken, 1) if soon else self.size // 2
        return self.size

    def idle(self) -> int:
        """Return what of the slice is not in demand, and begin a new look."""
        spare = self.free - 2 * self.taken
        self.taken = 0
        return max(0, spare)
