"""The limits of this process: from its slices where they suffice, else by a step in Redis. See docs/limits.md."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from contracts.clock import utc_now
from proxy.limits import denials, outage, ways
from proxy.limits.counter import Counter
from proxy.limits.grants import Reserved
from proxy.limits.life import Life
from proxy.limits.slices import Slices, resets_at
from proxy.limits.steps import Steps, Wish
from proxy.limits.upkeep import Upkeep
from proxy.limits.ways import Part, Way
from proxy.limits.wire import State, Store
from proxy.ports import Amounts, Demand, Denial, Grant, Principal, Standing

LEASE: Final = 5.0
"""Seconds that a slice lasts in Redis unless it is renewed."""
TRIES: Final = 8
STANDS: Final = 0.25
"""Seconds that the news of a full limit is believed, at most."""


def boot_time() -> float:
    """Return seconds since the machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class RedisLimits:
    """Implements `proxy.ports.Limits`. `process` is a name that no other process ever has: its epoch."""

    def __init__(
        self, store: Store, process: str, boot: Callable[[], float] = boot_time, *, lease: float = LEASE
    ) -> None:
        self._slices = Slices(boot)
        self._slices.heard(int(utc_now().timestamp() * 1_000_000), boot())  # until Redis says what its clock shows
        self.life = Life(store, process, lease, self._slices)
        self._steps = Steps(store, process, lease, self._slices, self.life)
        self.upkeep = Upkeep(self._steps, self._slices, self.life, lease)

    async def run(self) -> None:
        """Renew, report and give back until cancelled."""
        await self.upkeep.run()

    def confirmed(self, sequence: int) -> None:
        """Note that the ledger has all usage events of this process up to a sequence."""
        self._slices.confirmed = max(self._slices.confirmed, sequence)

    def take(self, demand: Demand, now: datetime) -> Grant | Denial | None:
        """Answer from what this process holds; None: ask `wait`."""
        return self._slices.take(demand, now)

    def settle(self, grant: Grant, used: Amounts, now: datetime, sequence: int = -1) -> None:
        """Replace what was reserved by what was used; `sequence`: of the usage event that tells the ledger."""
        if isinstance(grant, Reserved):
            self._slices.settle(grant, used, sequence)

    def release(self, grant: Grant, now: datetime) -> None:
        """Give everything back: the request was never sent."""
        if isinstance(grant, Reserved):
            self._slices.settle(grant, None, -1)

    async def wait(self, demand: Demand, now: datetime) -> Grant | Denial:
        """Answer after asking Redis, or by what each limit says of an outage."""
        way = self._slices.way(demand.who, demand.model, now)
        needs = [part.need(demand) for part in way.parts]
        self._slices.hold(way)
        for part, need in zip(way.parts, needs, strict=True):
            part.counter.wanted += need
        try:
            await self.upkeep.asked()
            async with self._steps.turn(way.tenant):
                return await self._take(demand, way, needs, now)
        finally:
            for part, need in zip(way.parts, needs, strict=True):
                part.counter.wanted -= need
            self._slices.let_go(way)

    async def standings(self, who: Principal, now: datetime) -> list[Standing]:
        """Return how every limit of somebody stands; those that cannot be asked are left out."""
        parts = [ways.part(held, who, now, self._slices.counter) for held in who.limits]
        if not await self.upkeep.asked():
            return []
        async with self._steps.turn(who.key.tenant):
            if not await self._steps.take(who.key.tenant, [Wish(part.counter) for part in parts]):
                return []
        standings = []
        for part in parts:
            left = self._slices.remaining(part)
            standings.append(Standing(part.held, left, resets_at(part, left, now)))
        return standings

    async def _take(self, demand: Demand, way: Way, needs: list[int], now: datetime) -> Grant | Denial:
        for _ in range(TRIES):
            answer = self._slices.take(demand, now)
            if answer is None and self.life.state == "up":
                answer = await self._ask(way, needs, now)
            if answer is not None:
                return answer
            if self.life.state != "up":
                return outage.decide(self._slices, demand, now, self.life.share)
        return denials.UNAVAILABLE

    async def _ask(self, way: Way, needs: list[int], now: datetime) -> Denial | None:
        """Ask Redis for what the slices lack. Returns why it is denied; None: take again."""
        boot = self._slices.boot()
        short: list[tuple[Part, int]] = []
        wishes: list[Wish] = []
        for part, need in zip(way.parts, needs, strict=True):
            counter = part.counter
            if counter.free >= need and boot < counter.good_until:
                continue
            if part.beyond == "D" and self._slices.denial(part, need, boot, now) is not None:
                continue
            free = 0 if counter.recall else counter.free
            lacking = max(0, need - free)
            short.append((part, need))
            want = max(lacking, counter.wanted + counter.resize(boot) - free)
            wishes.append(Wish(counter, 0, lacking, want, part.beyond))
        states = await self._steps.take(way.tenant, wishes)
        denied = []
        for (part, need), state in zip(short, states, strict=bool(states)):
            if state.retry_at:
                self._full(part.counter, need, state)
                denial = self._slices.denial(part, need, self._slices.boot(), now)
                if denial is not None and part.beyond == "B":
                    denied.append(denial)
        return denials.longest(denied) if denied else None

    def _full(self, counter: Counter, need: int, state: State) -> None:
        """Remember that a need does not fit: until then others need not ask."""
        counter.full_need = need
        counter.fits_at = (state.retry_at - self._slices.ahead) / 1_000_000
        stands = counter.width / 1_000_000 if counter.width else STANDS / 8 if counter.kind == "N" else STANDS
        counter.full_until = self._slices.boot() + min(stands, STANDS)
