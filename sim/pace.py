"""How fast tokens come."""

import asyncio
from time import monotonic


class Pace:
    """Spaces tokens evenly, without adding up delays. At speed 0 it only lets others run."""

    def __init__(self, tokens_per_second: float) -> None:
        self.seconds = 1 / tokens_per_second if tokens_per_second else 0.0
        self._due = monotonic()

    async def next(self) -> None:
        """Wait until the next token is due."""
        self._due += self.seconds
        await asyncio.sleep(max(self._due - monotonic(), 0) if self.seconds else 0)
