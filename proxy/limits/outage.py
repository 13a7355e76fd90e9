"""What each limit says while Redis cannot be asked: nobody is let in, everybody, or each process lets in its share. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from proxy.limits import denials
from proxy.limits.slices import SKIPPED, Slices
from proxy.limits.ways import Part
from proxy.ports import Demand, Denial, Grant


class Share:
    """This process's part of what is left to all: one of `of` equal ones; the first few take what does not divide."""

    def __init__(self, process: str, processes: Sequence[str]) -> None:
        there = sorted({*processes, process})
        self.of: Final = len(there)
        self._rank: Final = there.index(process)

    def part(self, amount: int) -> int:
        """Return the share of an amount: the shares of all processes add up to it."""
        each, rest = divmod(max(0, amount), self.of)
        return each + (self._rank < rest)


def decide(slices: Slices, demand: Demand, now: datetime, share: Share) -> Grant | Denial:
    """Let a request in, or not, by what this process holds and by what its limits say of an outage."""
    way = slices.way(demand.who, demand.model, now)
    boot = slices.boot()
    needs: list[int] = []
    loose: list[int] = []
    for index, part in enumerate(way.parts):
        need, counter = part.need(demand), part.counter
        needs.append(need)
        if counter.free >= need and boot < counter.good_until:
            continue
        if part.beyond == "D":
            needs[index] = SKIPPED
        elif part.beyond == "F" or _allows(slices, part, need, share):
            needs[index] = SKIPPED
            loose.append(index)
        elif need > part.amount:
            return denials.never(part.held, need)
        else:
            return denials.UNAVAILABLE
    grant = slices.grant(way, needs, demand, boot, now)
    micros = slices.micros(boot)
    for index in loose:
        part = way.parts[index]
        place = micros // part.counter.width if part.counter.width else 0
        grant.needs[index] = part.counter.take_loose(part.need(demand), place)
        slices.watch(way.tenant, part.counter)
    return grant


def _allows(slices: Slices, part: Part, need: int, share: Share) -> bool:
    policy = part.held.limit.on_outage
    if policy != "share":
        return policy == "allow"
    counter = part.counter
    recent = part.ends is not None or slices.boot() - counter.renewed_at < part.length.total_seconds()
    if counter.heard and recent and counter.loose + need > share.part(counter.room):
        return False
    return counter.own(slices.place(counter)) + need <= share.part(part.amount)
