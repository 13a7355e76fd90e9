"""A counter as one process holds it: its slice, what was taken from it, and what Redis was not told yet. Pure.

`lease = free + out`. What is `out` was taken by requests, or is being given back, and was not yet moved in Redis from the
lease to where it counts: a sub-bucket, or what is pending. Times are seconds of a clock that never stops (CLOCK_BOOTTIME).
"""

from typing import Final

from proxy.limits.wire import Ask, Beyond, Kind, Report, State

QUICK: Final = 0.25
"""Seconds: who asks again so soon gets twice as large a slice, who does not, half."""


class Sent:
    """What Redis is being told, until it has answered; said again under the same number if it did not."""

    def __init__(self, number: int, floor: int, give: int, reports: tuple[Report, ...], held: bool) -> None:
        self.number, self.floor, self.give, self.reports = number, floor, give, reports
        self.moved = sum(report[1] for report in reports)
        self.held = held
        """Whether Redis should know that this process holds something."""


class Counter:
    """One counter's slice. `amount` is the limit's; `kind`, `width` and `gone_at` as in `wire.Ask`."""

    def __init__(self, key: str, kind: Kind, amount: int, width: int, gone_at: int) -> None:
        self.key: Final = key
        self.kind: Final = kind
        self.width: Final = width
        self.gone_at: Final = gone_at
        self.amount = amount
        self.lease = 0
        self.out = 0
        self.free = 0
        self.good_until = 0.0
        """When the process stops to use the slice: before Redis lets it run out."""
        self.cut = 0
        """The newest number that Redis was told: what was taken under it can be reported once more only as a change."""
        self.lapsed = 0
        """What was taken under this number or an older one is counted as spent: its lease ran out."""
        self.room = amount
        """What was left beside all leases when Redis last said it."""
        self.full_need = 0
        self.full_until = 0.0
        """Until then a need of `full_need` or more does not fit, as far as is known."""
        self.fits_at = 0.0
        self.size = 0
        self.asked_at = 0.0
        self.renewed_at = 0.0
        self.wanted = 0
        """What requests that wait for Redis need."""
        self.taken = 0
        """What was taken since the last look (`idle`)."""
        self.watched = False
        self.recall = False
        """The limit became smaller: what is held is given back before anything is taken."""
        self._reports: dict[int, list[int]] = {}
        self._sent: Sent | None = None

    @property
    def quiet(self) -> bool:
        """Whether Redis has nothing to learn from here, nor this process anything to lose."""
        return not (self.lease or self.out or self._reports or self._sent)

    @property
    def unreported(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._reports) or self._sent is not None

    def limited_to(self, amount: int) -> None:
        """Take over the limit's amount."""
        if amount < self.amount:
            self.recall, self.good_until = True, 0.0
        elif amount > self.amount:
            self.full_until = 0.0
        self.amount = amount

    def take(self, need: int, place: int) -> None:
        """Take from the slice; `place`: the sub-bucket of now (sliding windows)."""
        self.free -= need
        self.out += need
        self.taken += need
        if self.kind == "S":
            self.note(place, need, 0)

    def note(self, place: int, moved: int, beside: int) -> None:
        """Have Redis told: what moves from the lease to a place, and what is added there beside it."""
        entry = self._reports.get(place)
        if entry is None:
            self._reports[place] = [moved, beside]
        else:
            entry[0] += moved
            entry[1] += beside

    def settle(self, serial: int, reserved: int, used: int, taken_at: int, place: int) -> None:
        """Replace what was reserved under a number by what was used.

        `taken_at`: the sub-bucket it was taken in; `place`: that of now, or the sequence that confirms it (calendar windows).
        """
        less = reserved - used
        lost = serial <= self.lapsed
        if self.kind == "N":
            self._back(reserved)
        elif self.kind == "C":
            if not lost and less > 0:
                self._back(less)
            moved = 0 if lost else min(reserved, used)
            if moved or less < 0:
                self.note(place, moved, max(-less, 0))
        elif less < 0:
            self.note(place, 0, -less)
        elif less > 0 and not lost:
            if serial > self.cut:
                self.note(taken_at, -less, 0)
                self._back(less)
            else:
                self.note(taken_at, 0, -less)

    def resize(self, now: float) -> int:
        """Return how much to ask for beyond what is needed, by how soon it asks again."""
        soon = now - self.asked_at < QUICK
        self.asked_at = now
        self.size = max(2 * self.size, self.taken, 1) if soon else self.size // 2
        return self.size

    def idle(self) -> int:
        """Return what of the slice is not in demand, and begin a new look."""
        spare = self.free - 2 * self.taken
        self.taken = 0
        return max(0, spare)

    def ask(self, number: int, give: int, need: int, want: int, beyond: Beyond) -> Ask:
        """Return what to send; what was sent and not answered is sent again instead of anything newer."""
        if self._sent is None:
            give = max(0, self.free if self.recall else min(give, self.free))
            self.recall = False
            reports = self._pending() if self.kind == "C" else self._spent()
            self._sent = Sent(number, self.out if self.kind == "N" else 0, give, reports, self.lease > 0)
            self._reports = {}
            self.cut = number
            self.out += give
            self.free -= give
        sent = self._sent
        return Ask(
            self.key, self.kind, self.amount, self.width, self.gone_at,
            sent.number, sent.floor, sent.give, need, want, beyond, False, sent.reports,
        )  # fmt: skip

    def told(self, state: State, serial: int, sent_at: float, good_until: float) -> bool:
        """Take over what Redis said. Returns False when Redis has forgotten a lease that should still have held."""
        sent, self._sent = self._sent, None
        assert sent is not None
        forgotten = sent.held and not state.known
        in_time = sent_at < self.good_until
        if forgotten and self.kind != "N":
            self._lapse(serial)
        else:
            self.out -= sent.give if self.kind == "N" else sent.give + sent.moved
        self.lease = state.lease
        self.free = self.lease - self.out
        self.room = state.room
        self.renewed_at, self.good_until = sent_at, good_until
        return not (forgotten and in_time)

    def _spent(self) -> tuple[Report, ...]:
        return tuple([(str(place), entry[0], entry[1]) for place, entry in self._reports.items()])

    def _pending(self) -> tuple[Report, ...]:
        """Return what waits for the ledger: what it knows when it has the newest sequence, and what no sequence tells."""
        told: list[Report] = []
        for place, group in (
            ("", [entry for sequence, entry in self._reports.items() if sequence < 0]),
            (str(max(self._reports, default=0)), [entry for sequence, entry in self._reports.items() if sequence >= 0]),
        ):
            if group:
                told.append((place, sum([entry[0] for entry in group]), sum([entry[1] for entry in group])))
        return tuple(told)

    def _back(self, amount: int) -> None:
        self.out -= amount
        self.free += amount

    def _lapse(self, serial: int) -> None:
        self.lapsed, self.out = serial, 0
        for entry in self._reports.values():
            entry[1] += entry[0]
            entry[0] = 0
