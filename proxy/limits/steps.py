"""Steps in Redis: what this process asks of counters, and what it makes of the answers. One at a time for each tenant."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from proxy.limits.counter import Counter
from proxy.limits.life import AWAY, Life
from proxy.limits.slices import Slices
from proxy.limits.wire import Ask, Beyond, State, Store

MARGIN: Final = 0.2
"""The part of a lease that a process does not use: clocks do not run at the same speed."""


class Wish(NamedTuple):
    """What is asked of a counter, beside what it has to tell. See `wire.Ask`."""

    counter: Counter
    give: int = 0
    need: int = 0
    want: int = 0
    beyond: Beyond = "B"


class Tenant:
    """What this process holds of a tenant's counters. The lock keeps their reports in order."""

    def __init__(self) -> None:
        self.lock: Final = asyncio.Lock()
        self.users = 0
        self.watched: Final[set[Counter]] = set()


class Steps:
    """Takes steps in the store, in the life that is agreed on. `lease`: seconds."""

    def __init__(self, store: Store, process: str, lease: float, slices: Slices, life: Life) -> None:
        self._store, self._process, self._lease = store, process, lease
        self._slices, self._life = slices, life
        self.tenants: Final[dict[str, Tenant]] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Tenant]:
        """Wait for the tenant's turn; what is asked within is asked alone."""
        tenant = self.tenants.setdefault(name, Tenant())
        tenant.users += 1
        try:
            async with tenant.lock:
                yield tenant
        finally:
            tenant.users -= 1
            if not tenant.users and not tenant.watched:
                del self.tenants[name]

    async def take(self, tenant: str, wishes: Sequence[Wish]) -> Sequence[State]:
        """Ask for what is wished. Empty: there was no answer, or nothing to ask."""
        if not wishes:
            return ()
        number = self._slices.number()
        for wish in wishes:
            self._slices.watch(tenant, wish.counter)
        return await self._exchange(wishes, [wish.counter.ask(number, *wish[1:]) for wish in wishes])

    async def declare(self, counters: Sequence[Counter]) -> bool:
        """Tell a new life what this process knows. Returns whether it was heard."""
        slices, number = self._slices, self._slices.number()
        now = slices.boot()
        asks = [counter.declare(number, now, slices.place(counter)) for counter in counters]
        return bool(await self._exchange([Wish(counter) for counter in counters], asks))

    async def register(self, tenant: str, counters: Sequence[Counter]) -> None:
        """Let the stream know of calendar counters."""
        described = [counter.described for counter in counters if counter.described is not None]
        try:
            await self._store.register(tenant, described)
        except AWAY as error:
            self._life.away(error)
            return
        for counter in counters:
            counter.registered = True

    async def _exchange(self, wishes: Sequence[Wish], asks: Sequence[Ask]) -> Sequence[State]:
        slices, sent_at = self._slices, self._slices.boot()
        try:
            reply = await self._store.exchange(self._process, self._life.number, round(self._lease * 1_000_000), asks)
        except AWAY as error:
            self._life.away(error)
            return ()
        if reply.status == "stale":
            self._life.lost()
            return ()
        slices.heard(reply.now, sent_at)
        good_until = sent_at + self._lease * (1 - MARGIN)
        serial = slices.number()
        for wish, state in zip(wishes, reply.states, strict=True):
            if not wish.counter.told(state, serial, sent_at, good_until):
                self._life.lost()
        return reply.states
