"""What Redis is told of a counter: what is on its way there, and what it was told before and may forget. Pure."""

from typing import Final

from contracts.limit_windows import BUCKETS
from proxy.limits.wire import Report

ENTRIES: Final = 256
"""Places that are remembered of a calendar window; older ones become part of newer ones."""
Entries = dict[int, list[int]]
"""Place → what moves there from the lease, what is added beside it. Below 0: no sequence will tell the ledger."""


class Sent:
    """What Redis is being told, until it has answered; said again under the same number if it did not."""

    def __init__(
        self, number: int, floor: int, give: int, reports: tuple[Report, ...], held: bool, known: bool
    ) -> None:
        self.number, self.floor, self.give, self.reports = number, floor, give, reports
        self.moved = sum([report[1] for report in reports])
        self.held = held
        """Whether Redis should know that this process holds something."""
        self.known = known
        """Whether Redis should know the counter: it was told of something that still counts."""


class Told:
    """What Redis was told, by place. `slides`: places are sub-buckets, else sequences of usage events."""

    def __init__(self, slides: bool) -> None:
        self._slides: Final = slides
        self._amounts: dict[int, int] = {}
        self._past = 0

    def __bool__(self) -> bool:
        return bool(self._amounts)

    @property
    def total(self) -> int:
        """Return what was told in this window."""
        return self._past + sum(self._amounts.values())

    def add(self, reports: tuple[Report, ...]) -> None:
        """Remember reports."""
        for place, moved, beside in reports:
            at = int(place) if place else -1
            self._amounts[at] = self._amounts.get(at, 0) + moved + beside
        if not self._slides and len(self._amounts) > ENTRIES:
            newest = max(self._amounts)
            self._amounts = {newest: sum(self._amounts.values())}

    def forget(self, place: int) -> None:
        """Forget what Redis need not be told again: what left the window that ends at `place`, or what the ledger has."""
        if self._slides:
            for at in [at for at in self._amounts if at < place - BUCKETS]:
                del self._amounts[at]
        else:
            for at in [at for at in self._amounts if at <= place]:
                self._past += self._amounts.pop(at)

    def reports(self) -> tuple[Report, ...]:
        """Return all of it, to be declared."""
        return tuple([(str(at) if at >= 0 else "", amount, 0) for at, amount in self._amounts.items()])


def spent(entries: Entries) -> tuple[Report, ...]:
    """Return what was spent in sub-buckets, as reports."""
    return tuple([(str(place), entry[0], entry[1]) for place, entry in entries.items()])


def pending(entries: Entries) -> tuple[Report, ...]:
    """Return what waits for the ledger: what it knows when it has the newest sequence, and what no sequence tells."""
    reports: list[Report] = []
    for place, group in (
        ("", [entry for sequence, entry in entries.items() if sequence < 0]),
        (str(max(entries, default=0)), [entry for sequence, entry in entries.items() if sequence >= 0]),
    ):
        if group:
            reports.append((place, sum([entry[0] for entry in group]), sum([entry[1] for entry in group])))
    return tuple(reports)
