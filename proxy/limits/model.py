"""The limiter's store as a plain Python object: what its scripts do in Redis, `now` an argument. Pure.

It is what the tests compare Redis with, and what the reader should read first. Times are microseconds of the store's clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from contracts.limit_windows import BUCKETS
from proxy.limits.model_life import Attended
from proxy.limits.wire import SHARE, Ask, Reply, State

LOST: Final = "x:"
"""Entries of a calendar window that no sequence confirms: they are dropped when the ledger is complete past their moment."""


@dataclass
class Lease:
    """What one process holds of a counter, until when, and the last report of it that was booked."""

    amount: int
    over: int
    number: int


@dataclass
class Counter:
    """One limit's count. `entries`: sub-bucket → amount, or `process:sequence` and `x:moment` → amount."""

    life: int
    entries: dict[str, int] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    ledgered: int = 0
    generation: int = -1
    declared: dict[str, int] = field(default_factory=dict)
    declarers: set[str] = field(default_factory=set)

    @property
    def used(self) -> int:
        """Return what is not free to be leased."""
        return sum(self.entries.values()) + sum(lease.amount for lease in self.leases.values()) + self.ledgered

    def book(self, place: str, amount: int) -> None:
        """Add to an entry, which never falls below 0."""
        self.entries[place] = max(0, self.entries.get(place, 0) + amount)


class Store(Attended):
    """All counters, as Redis has them."""

    def __init__(self, server: str = "server", started: int = 0) -> None:
        super().__init__(server, started)
        self.counters: dict[str, Counter] = {}

    def exchange(self, process: str, life: int, lease: int, asks: Sequence[Ask], now: int) -> Reply:
        """Book what is reported, then grant all needs, or none. `lease`: microseconds that leases last."""
        there = [ask.key in self.counters and self.counters[ask.key].life > 0 for ask in asks]
        rows = [self.counters.setdefault(ask.key, Counter(life)) for ask in asks]
        if any(row.life > life for row in rows):
            return Reply("stale", now, ())
        known = [_prepare(row, ask, process, life, now) for row, ask in zip(rows, asks, strict=True)]
        rooms = [ask.amount - row.used for row, ask in zip(rows, asks, strict=True)]
        waits = [
            _fits_at(row, ask, room, now) if ask.need > room and ask.beyond != "F" else 0
            for row, ask, room in zip(rows, asks, rooms, strict=True)
        ]
        denied = any(wait and ask.beyond == "B" for wait, ask in zip(waits, asks, strict=True))
        states = []
        for row, ask, room, wait, seen, old in zip(rows, asks, rooms, waits, known, there, strict=True):
            granted = 0 if denied or wait else max(ask.need, min(ask.want, room // SHARE))
            mine = row.leases[process]
            mine.amount += granted
            mine.over = now + lease
            states.append(State(mine.amount, seen, old, room - granted, wait))
        return Reply("denied" if denied else "done", now, tuple(states))

    def set_ledgered(
        self, key: str, generation: int, amount: int, contiguous: Mapping[str, int], complete: int
    ) -> bool:
        """Set what the ledger holds, and drop the pending entries that are in it. False: it is older than what is known."""
        row = self.counters.setdefault(key, Counter(0))
        if generation < row.generation:
            return False
        row.generation, row.ledgered = generation, amount
        row.entries = {
            place: held for place, held in row.entries.items() if not _confirmed(place, contiguous, complete)
        }
        return True


def _prepare(row: Counter, ask: Ask, process: str, life: int, now: int) -> bool:
    """Bring a counter up to `now` and book what is reported. Returns whether the process was known."""
    if row.life != life:
        row.life, row.declared, row.declarers = life, {}, set()
    if ask.kind == "S":
        oldest = now // ask.width - BUCKETS
        row.entries = {place: amount for place, amount in row.entries.items() if int(place) >= oldest}
    if ask.declare and process in row.leases and row.leases[process].over <= now:
        del row.leases[process]  # what it holds is told in this step
    _expire(row, ask, now)
    known = process in row.leases
    mine = row.leases.setdefault(process, Lease(0, 0, 0))
    if ask.declare:
        _declare(row, ask, process, mine, now)
    elif ask.number > mine.number:
        for place, moved, beside in ask.reports:
            booked = min(moved, mine.amount)
            mine.amount -= booked
            _book(row, ask, _place(ask, place, process, now), booked + beside, now)
        mine.amount -= min(ask.give, mine.amount)
    mine.number = max(mine.number, ask.number)
    mine.amount = max(mine.amount, ask.floor)
    return known


def _expire(row: Counter, ask: Ask, now: int) -> None:
    """Book as spent what leases held that ran out. Slots come back."""
    for process, lease in list(row.leases.items()):
        if lease.over <= now:
            del row.leases[process]
            if ask.kind == "S":
                _book(row, ask, str(lease.over // ask.width), lease.amount, now)
            elif ask.kind == "C":
                row.book(f"{LOST}{lease.over}", lease.amount)


def _declare(row: Counter, ask: Ask, process: str, mine: Lease, now: int) -> None:
    """Book what processes declare after a loss: the sum of it, or what is still there, whichever is more."""
    if process in row.declarers:
        return
    row.declarers.add(process)
    mine.amount = 0
    for place, moved, beside in ask.reports:
        spot, total = _place(ask, place, process, now), moved + beside
        if ask.kind == "S":
            spot = str(min(int(spot), now // ask.width))
            total = row.declared[spot] = row.declared.get(spot, 0) + total
        _book(row, ask, spot, max(0, total - row.entries.get(spot, 0)), now)


def _place(ask: Ask, place: str, process: str, now: int) -> str:
    if ask.kind != "C":
        return place
    return f"{process}:{place}" if place else f"{LOST}{now}"


def _book(row: Counter, ask: Ask, place: str, amount: int, now: int) -> None:
    if ask.kind == "S":
        bucket = min(int(place), now // ask.width)
        if bucket < now // ask.width - BUCKETS:
            return
        place = str(bucket)
    row.book(place, amount)


def _fits_at(row: Counter, ask: Ask, room: int, now: int) -> int:
    if ask.kind == "C":
        return now
    if ask.kind == "N":
        return now + 1_000_000
    for bucket in sorted(map(int, row.entries)):
        room += row.entries[str(bucket)]
        if room >= ask.need:
            return (bucket + 1 + BUCKETS) * ask.width
    return (now // ask.width + 1 + BUCKETS) * ask.width


def _confirmed(place: str, contiguous: Mapping[str, int], complete: int) -> bool:
    if place.startswith(LOST):
        return int(place.removeprefix(LOST)) <= complete
    process, _, sequence = place.partition(":")
    return int(sequence) <= contiguous.get(process, 0)
