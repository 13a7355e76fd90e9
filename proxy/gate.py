"""Lets what nobody remembers be looked up, unless too much of what came from there before was held by nobody."""

import asyncio
import math

from prometheus_client import Counter

from proxy.guard import Guard
from proxy.identity import INVALID
from proxy.ports import Principal, Refusal


class Gate:
    """One for a process. `guard` None: everything is let through, and counted all the same."""

    def __init__(self, guard: Guard | None, failures: Counter) -> None:
        self._guard, self._failures = guard, failures

    def enter(self, address: str | None) -> Refusal | None:
        """Note an attempt from an address, or return why none may be made now."""
        wait = self._guard.take(address, asyncio.get_running_loop().time()) if self._guard is not None else 0.0
        if wait == 0.0:
            return None
        self._failures.labels("throttled").inc()
        message = f"Too many unknown keys came from your address. Try again in {math.ceil(wait)} s."
        return Refusal("rate_limit_exceeded", message, retry_after=wait)

    def leave(self, address: str | None, found: Principal | Refusal) -> None:
        """Note what came of it: only keys and tokens that nobody holds count."""
        if isinstance(found, Refusal) and found.code == INVALID.code and found.who is None:
            self._failures.labels("key" if found is INVALID else "token").inc()
        elif self._guard is not None:
            self._guard.give_back(address, asyncio.get_running_loop().time())
