"""How much of a process's uploads is one tenant's: bodies without an end stay in vLLM's memory for as long as they are sent."""

from collections import Counter
from typing import Final

AT_ONCE: Final = 4
"""So many times the largest body may be on its way for one tenant, in one process."""


class Shares:
    """Bytes on their way, by tenant."""

    def __init__(self, max_body: int) -> None:
        self._most = AT_ONCE * max_body
        self._bytes: Counter[str | None] = Counter()

    def add(self, tenant: str | None, count: int) -> bool:
        """Count bytes; return whether that is still no more than the tenant's share."""
        self._bytes[tenant] += count
        return self._bytes[tenant] <= self._most

    def release(self, tenant: str | None, count: int) -> None:
        """Forget bytes whose body has ended, or will not."""
        self._bytes[tenant] -= count
        if not self._bytes[tenant]:
            del self._bytes[tenant]
