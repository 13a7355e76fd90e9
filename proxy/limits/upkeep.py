"""What goes on beside requests: slices are renewed and given back, what was spent is reported, a new life is told of it all."""

import asyncio
from typing import Final

from proxy.limits.counter import Counter
from proxy.limits.life import Life
from proxy.limits.slices import Slices
from proxy.limits.steps import Steps, Wish

TICK: Final = 0.25
"""Seconds between looks at what is held: what is not in demand goes back."""
BEAT: Final = 1.0
"""Seconds between two times that a process says that it is there."""
AT_ONCE: Final = 64
"""Counters in one step."""


class Upkeep:
    """Looks after the counters that this process has something of. `lease`: seconds."""

    def __init__(self, steps: Steps, slices: Slices, life: Life, lease: float) -> None:
        self._steps, self._slices, self._life = steps, slices, life
        self._renew = min(BEAT, lease / 5)
        self._attending = asyncio.Lock()

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(min(TICK, self._renew))

    async def asked(self) -> bool:
        """Return whether Redis can be asked; finds out where nobody has yet. Not to be called in a tenant's turn."""
        if self._life.number == 0 and self._life.attended_at == float("-inf"):
            await self.attend()
        return self._life.state == "up"

    async def look(self) -> None:
        """Do what is due."""
        await self._wake()
        now = self._slices.boot()
        if self._life.state != "up" or now - self._life.attended_at >= self._renew:
            await self.attend()
        if self._life.state == "up":
            for name in list(self._steps.tenants):
                await self._look_after(name)

    async def attend(self) -> None:
        """Say that this process is there; in a new life, tell what it holds before anything else is asked."""
        async with self._attending:
            await self._life.attend()
            if self._life.changed and self._life.state != "down" and await self._declare():
                self._life.changed = False
                await self._life.attend()

    async def _declare(self) -> bool:
        await self._wake()
        for name in list(self._steps.tenants):
            async with self._steps.turn(name) as tenant:
                counters = list(tenant.watched)
                for start in range(0, len(counters), AT_ONCE):
                    if not await self._steps.declare(counters[start : start + AT_ONCE]):
                        return False
        return True

    async def _wake(self) -> None:
        woken, self._slices.woken = self._slices.woken, []
        for name, counter in woken:
            async with self._steps.turn(name) as tenant:
                tenant.watched.add(counter)

    async def _look_after(self, name: str) -> None:
        async with self._steps.turn(name) as tenant:
            now = self._slices.boot()
            due: list[Wish] = []
            for counter in list(tenant.watched):
                if counter.quiet(self._slices.place(counter)):
                    self._slices.unwatch(counter)
                    tenant.watched.discard(counter)
                elif (spare := counter.idle()) or self._due(counter, now):
                    due.append(Wish(counter, give=spare))
            new = [counter for counter in tenant.watched if counter.described and not counter.registered]
            if new:
                await self._steps.register(name, new)
            for start in range(0, len(due), AT_ONCE):
                await self._steps.take(name, due[start : start + AT_ONCE])

    def _due(self, counter: Counter, now: float) -> bool:
        return counter.busy and now - counter.renewed_at >= self._renew
