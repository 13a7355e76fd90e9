"""A request's place in the queue, and what it holds of the instance."""

import asyncio
from datetime import datetime
from typing import Final

from contracts.limits import INPUT_WEIGHT, Priority

BYTES_PER_TOKEN: Final = 4
MOST_ESTIMATED: Final = 1 << 15
"""Tokens: a body may be an image."""
LEAST: Final = 16
"""Weighted tokens that every request counts for: those that fail take turns, too."""


class Turn:
    """One request's."""

    __slots__ = ("asked_at", "charged", "held", "number", "priority", "row", "size", "tenant", "waiter", "weight")

    def __init__(self, tenant: str, priority: Priority, weight: int, size: int, asked_at: datetime) -> None:
        """`size`: bytes of its body."""
        self.tenant = tenant
        self.priority = priority
        self.weight = weight
        self.size = size
        self.asked_at = asked_at
        self.held = False
        """It was let in, and has not ended."""
        self.charged: int | None = None
        """Weighted tokens that its flow was charged with; None: it did not wait."""
        self.row = 0
        self.number = 0
        self.waiter: asyncio.Future[bool] | None = None
        """While it waits."""

    @property
    def estimate(self) -> int:
        """Return about how many weighted tokens its input has."""
        return max(LEAST, INPUT_WEIGHT * min(self.size // BYTES_PER_TOKEN, MOST_ESTIMATED))
