"""The limits of this process: from its slices where they suffice, else by a step in Redis. See docs/limits.md."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from proxy.limits import denials, ways
from proxy.limits.counter import Counter
from proxy.limits.grants import Reserved
from proxy.limits.slices import Slices, resets_at
from proxy.limits.store import RedisStore
from proxy.limits.ways import Part, Way
from proxy.limits.wire import Ask, Beyond, State
from proxy.ports import Amounts, Demand, Denial, Grant, Principal, Standing

LEASE: Final = 5.0
"""Seconds that a slice lasts in Redis unless it is renewed."""
MARGIN: Final = 0.2
"""The part of a lease that a process does not use: clocks do not run at the same speed."""
TICK: Final = 0.25
"""Seconds between looks at what is held: what is not in demand goes back."""
RENEW: Final = 1.0
"""Seconds after which a slice is renewed and what was spent is reported."""
AT_ONCE: Final = 64
"""Counters in one step of the upkeep."""
TRIES: Final = 8
STANDS: Final = 0.25
"""Seconds that the news of a full limit is believed, at most."""
AWAY: Final = (RedisError, OSError, TimeoutError)
_log = structlog.get_logger(__name__)


def boot_time() -> float:
    """Return seconds since the machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Tenant:
    """What this process holds of a tenant's counters. One step at a time: their reports keep their order."""

    def __init__(self) -> None:
        self.lock: Final = asyncio.Lock()
        self.users = 0
        self.watched: Final[set[Counter]] = set()


class RedisLimits:
    """Implements `proxy.ports.Limits`. `process` is a name that no other process ever has: its epoch."""

    def __init__(
        self, redis: Redis, process: str, boot: Callable[[], float] = boot_time, *, lease: float = LEASE
    ) -> None:
        self._store = RedisStore(redis)
        self._process = process
        self._lease = lease
        self._slices = Slices(boot)
        self._tenants: dict[str, Tenant] = {}
        self.up = True
        """Whether Redis answered when it was last asked."""

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
        """Answer after asking Redis."""
        way = self._slices.way(demand.who, demand.model, now)
        needs = [part.need(demand) for part in way.parts]
        for part, need in zip(way.parts, needs, strict=True):
            part.counter.wanted += need
        try:
            async with self._turn(way.tenant):
                for _ in range(TRIES):
                    answer = self._slices.take(demand, now)
                    if answer is None and self.up:
                        answer = await self._ask(way, needs, now)
                    if answer is not None or not self.up:
                        break
                return denials.UNAVAILABLE if answer is None else answer
        finally:
            for part, need in zip(way.parts, needs, strict=True):
                part.counter.wanted -= need

    async def standings(self, who: Principal, now: datetime) -> list[Standing]:
        """Return how every limit of somebody stands; those that cannot be asked are left out."""
        parts = [ways.part(held, who, now, self._slices.counter) for held in who.limits]
        async with self._turn(who.key.tenant):
            if not await self._step(who.key.tenant, [(part.counter, 0, 0, 0, "B") for part in parts]):
                return []
        return [
            Standing(part.held, left, resets_at(part, left, now))
            for part in parts
            for left in [self._slices.remaining(part)]
        ]

    async def run(self) -> None:
        """Renew, report and give back until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            await self.look()

    async def look(self) -> None:
        """Give back what is idle, renew what is held, report what was spent."""
        for name, counter in self._slices.woken:
            self._tenants.setdefault(name, Tenant()).watched.add(counter)
        self._slices.woken.clear()
        for name in list(self._tenants):
            async with self._turn(name) as tenant:
                await self._look_after(name, tenant)

    async def _look_after(self, name: str, tenant: Tenant) -> None:
        now = self._slices.boot()
        due: list[tuple[Counter, int, int, int, Beyond]] = []
        for counter in list(tenant.watched):
            if counter.quiet:
                counter.watched = False
                tenant.watched.discard(counter)
                continue
            spare = counter.idle()
            if spare or now - counter.renewed_at >= min(RENEW, self._lease / 4):
                due.append((counter, spare, 0, 0, "B"))
        for start in range(0, len(due), AT_ONCE):
            await self._step(name, due[start : start + AT_ONCE])

    async def _ask(self, way: Way, needs: list[int], now: datetime) -> Denial | None:
        """Ask Redis for what the slices lack. Returns why it is denied; None: take again."""
        boot = self._slices.boot()
        short: list[Part] = []
        wishes: list[tuple[Counter, int, int, int, Beyond]] = []
        wanted: list[int] = []
        for part, need in zip(way.parts, needs, strict=True):
            counter = part.counter
            if counter.free >= need and boot < counter.good_until:
                continue
            if part.beyond == "D" and self._slices.denial(part, need, boot, now) is not None:
                continue
            free = 0 if counter.recall else counter.free
            lacking = max(0, need - free)
            short.append(part)
            wanted.append(need)
            wishes.append(
                (counter, 0, lacking, max(lacking, counter.wanted + counter.resize(boot) - free), part.beyond)
            )
        states = await self._step(way.tenant, wishes)
        denied = []
        boot = self._slices.boot()
        for part, need, state in zip(short, wanted, states, strict=bool(states)):
            if state.retry_at:
                self._full(part.counter, need, state, boot)
                denial = self._slices.denial(part, need, boot, now)
                if denial is not None and part.beyond == "B":
                    denied.append(denial)
        return denials.longest(denied) if denied else None

    def _full(self, counter: Counter, need: int, state: State, boot: float) -> None:
        counter.full_need = need
        counter.fits_at = (state.retry_at - self._slices.ahead) / 1_000_000
        stands = counter.width / 1_000_000 if counter.width else STANDS / 8 if counter.kind == "N" else STANDS
        counter.full_until = boot + min(stands, STANDS)

    async def _step(self, tenant: str, wishes: Sequence[tuple[Counter, int, int, int, Beyond]]) -> Sequence[State]:
        """Take a step on counters (each: give, need, want, what if it does not fit). Empty: Redis did not answer."""
        slices = self._slices
        number, sent_at = slices.serial, slices.boot()
        slices.serial += 1
        asks: list[Ask] = [counter.ask(number, *wish) for counter, *wish in wishes]  # type: ignore[arg-type]
        for counter, *_ in wishes:
            slices.watch(tenant, counter)
        try:
            reply = await self._store.exchange(self._process, 1, round(self._lease * 1_000_000), asks)
        except AWAY as error:
            if self.up:
                _log.warning("limits cannot be asked", error=repr(error))
            self.up = False
            return ()
        self.up = True
        slices.ahead = reply.now - int(sent_at * 1_000_000)
        good_until = sent_at + self._lease * (1 - MARGIN)
        for (counter, *_), state in zip(wishes, reply.states, strict=True):
            counter.told(state, slices.serial, sent_at, good_until)
        slices.serial += 1
        return reply.states

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[Tenant]:
        tenant = self._tenants.setdefault(name, Tenant())
        tenant.users += 1
        try:
            async with tenant.lock:
                yield tenant
        finally:
            tenant.users -= 1
            if not tenant.users and not tenant.watched:
                del self._tenants[name]
