"""What this process may let in without asking anybody: slices of counters. Everything here returns at once."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from proxy.limits import amounts, denials, ways
from proxy.limits.counter import Counter
from proxy.limits.grants import Reserved
from proxy.limits.ways import Part, Way
from proxy.limits.wire import Kind
from proxy.ports import Amounts, Demand, Denial, Principal, Standing

WAYS_KEPT: Final = 20_000
"""Principals whose ways are remembered, the newest."""
SKIPPED: Final = -1
"""Stands for what was not taken: a limit in shadow that has no room."""


class Ways:
    """The ways of one principal, by model."""

    def __init__(self, who: Principal) -> None:
        self.who: Final = who
        self.by_model: Final[dict[str | None, Way]] = {}


class Slices:
    """The counters of this process. `boot`: seconds of a clock that goes on while the machine sleeps."""

    def __init__(self, boot: Callable[[], float]) -> None:
        self.boot: Final = boot
        self.confirmed = 0
        """The ledger has the usage events of this process up to this sequence."""
        self.ahead = 0
        """Microseconds by which Redis' clock is ahead of `boot`, at most."""
        self.woken: list[tuple[str, Counter]] = []
        """Tenant and counter of which Redis has something to learn, new since the last look."""
        self._serial = 1
        self._ways: dict[int, Ways] = {}
        self._counters: dict[str, Counter] = {}

    def way(self, who: Principal, model: str | None, now: datetime) -> Way:
        """Return the limits that a request meets."""
        known = self._ways.get(id(who))
        if known is None:
            known = self._ways[id(who)] = Ways(who)
            if len(self._ways) > WAYS_KEPT:
                for old in self._ways.pop(next(iter(self._ways))).by_model.values():
                    self.let_go(old)
        way = known.by_model.get(model)
        if way is None or (way.until is not None and now >= way.until):
            ended = way
            way = known.by_model[model] = ways.find(who, model, now, self.counter)
            self.hold(way)
            if ended is not None:
                self.let_go(ended)
        return way

    def hold(self, way: Way) -> None:
        """Have the counters of a way remembered: there must never be two of the same key."""
        for part in way.parts:
            part.counter.users += 1

    def let_go(self, way: Way) -> None:
        """Take `hold` back."""
        for part in way.parts:
            part.counter.users -= 1
            self._forget(part.counter)

    def unwatch(self, counter: Counter) -> None:
        """Have a counter that is quiet no longer looked after."""
        counter.watched = False
        self._forget(counter)

    def _forget(self, counter: Counter) -> None:
        if not counter.users and not counter.watched:
            self._counters.pop(counter.key, None)

    def counter(self, key: str, kind: Kind, amount: int, width: int, gone_at: int) -> Counter:
        """Return the counter of a key; a new amount is taken over."""
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = Counter(key, kind, amount, width, gone_at)
        counter.limited_to(amount)
        return counter

    def take(self, demand: Demand, now: datetime) -> Reserved | Denial | None:
        """Take from the slices for all limits, or for none. None: only Redis knows whether it fits."""
        way = self.way(demand.who, demand.model, now)
        boot = self.boot()
        needs: list[int] = []
        for part in way.parts:
            need = part.need(demand)
            counter = part.counter
            if counter.free < need or boot >= counter.good_until:
                return self._judge(way, demand, boot, now)
            needs.append(need)
        return self.grant(way, needs, demand, boot, now)

    def settle(self, grant: Reserved, used: Amounts | None, sequence: int) -> None:
        """Replace what was reserved by what was used, None: nothing. `sequence` below 0: none will tell."""
        if grant.ended:
            return
        grant.ended = True
        way, needs = grant.way, grant.needs
        micros = self.micros(self.boot())
        for index, part in enumerate(way.parts):
            need = needs[index]
            if need == SKIPPED:
                continue
            took = 0 if used is None else amounts.of(part.meter, used)
            counter = part.counter
            width = counter.width
            if width:
                counter.settle(grant.serial, need, took, grant.at // width, micros // width)
            else:
                counter.settle(grant.serial, need, took, 0, sequence)
            if not counter.watched:
                self.watch(way.tenant, counter)

    def watch(self, tenant: str, counter: Counter) -> None:
        """Have a counter looked after, until it is quiet."""
        if not counter.watched:
            counter.watched = True
            self.woken.append((tenant, counter))

    def number(self) -> int:
        """Return a number for what is said to Redis; what is taken from now on has a greater one."""
        self._serial += 1
        return self._serial - 1

    def place(self, counter: Counter) -> int:
        """Return the sub-bucket of now, or of a calendar window the newest sequence that the ledger has."""
        return self.micros(self.boot()) // counter.width if counter.width else self.confirmed

    def heard(self, micros: int, asked_at: float) -> None:
        """Note what Redis' clock showed at some moment after `asked_at`."""
        self.ahead = micros - int(asked_at * 1_000_000)

    def micros(self, boot: float) -> int:
        """Return what Redis' clock shows at most, in microseconds."""
        return int(boot * 1_000_000) + self.ahead

    def grant(self, way: Way, needs: list[int], demand: Demand, boot: float, now: datetime) -> Reserved:
        """Take what is needed; the caller has seen that it is there."""
        micros = self.micros(boot)
        grant = Reserved(way, needs, self._serial, micros)
        for index, part in enumerate(way.parts):
            need = needs[index]
            if need >= 0:
                counter = part.counter
                counter.take(need, micros // counter.width if counter.width else 0)
            if part.shown:
                self._show(grant, part, now)
        if way.reserves != "none":
            reserved = demand.bound if way.reserves == "bound" else demand.estimate
            grant.reserved_tokens = reserved.input + reserved.output
        return grant

    def _show(self, grant: Reserved, part: Part, now: datetime) -> None:
        shown = grant.tightest.get(part.shown)
        remaining = self.remaining(part)
        if shown is None or remaining < shown.remaining:
            grant.tightest[part.shown] = Standing(part.held, remaining, resets_at(part, remaining, now))

    def remaining(self, part: Part) -> int:
        """Return what is left of a limit, as far as this process knows."""
        counter = part.counter
        return max(0, min(part.amount, counter.room + counter.free))

    def _judge(self, way: Way, demand: Demand, boot: float, now: datetime) -> Reserved | Denial | None:
        """Answer where a slice does not suffice: a limit may be known to be full."""
        denied: list[Denial] = []
        needs: list[int] = []
        doubt: Denial | None = None
        unknown = False
        for part in way.parts:
            need = part.need(demand)
            counter = part.counter
            if counter.free >= need and boot < counter.good_until:
                needs.append(need)
                continue
            denial = self.denial(part, need, boot, now)
            if denial is None:
                unknown = True
            elif part.beyond == "D":
                doubt = denial
                needs.append(SKIPPED)
            else:
                denied.append(denial)
        if denied:
            return denials.longest(denied)
        if unknown:
            return None
        grant = self.grant(way, needs, demand, boot, now)
        grant.doubt = doubt
        return grant

    def denial(self, part: Part, need: int, boot: float, now: datetime) -> Denial | None:
        """Return why a need does not fit; None: it may."""
        counter = part.counter
        if part.beyond == "F":
            return None
        if need > part.amount:
            return denials.never(part.held, need)
        if boot >= counter.full_until or need < counter.full_need:
            return None
        if part.ends is not None:
            return denials.reached(part.held, (part.ends - now).total_seconds(), part.ends)
        if counter.kind == "N":
            return denials.reached(part.held, denials.WAIT_FOR_A_SLOT, None)
        return denials.reached(part.held, max(0.0, counter.fits_at - boot), None)


def resets_at(part: Part, remaining: int, now: datetime) -> datetime:
    """Return when all of a limit is there again, if nobody comes."""
    if remaining >= part.amount:
        return now
    return part.ends if part.ends is not None else now + part.length
