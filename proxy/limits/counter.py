"""A counter as one process holds it: its slice, what was taken from it, and what Redis was not told yet. Pure.

`lease = free + out`. What is `out` was taken by requests, or is being given back, and was not yet moved in Redis from the
lease to where it counts: a sub-bucket, or what is pending. Times are seconds of a clock that never stops (CLOCK_BOOTTIME). A
`place` is a sub-bucket, or of a calendar window the sequence of a usage event, below 0 where none will tell.
"""

from typing import Final

from contracts.limit_windows import BUCKETS
from contracts.quota_feedback import ActiveCounter
from proxy.limits import told
from proxy.limits.pace import Pace
from proxy.limits.told import Entries, Sent, Told
from proxy.limits.wire import Ask, Beyond, Kind, State

LOOSE: Final = -2
"""What was taken without a lease stands in a grant as LOOSE less the amount."""


class Counter(Pace):
    """One counter's slice. `amount` is the limit's; `kind`, `width` and `gone_at` as in `wire.Ask`."""

    def __init__(self, key: str, kind: Kind, amount: int, width: int, gone_at: int) -> None:
        super().__init__()
        self.key: Final = key
        self.kind: Final = kind
        self.width: Final = width
        self.gone_at: Final = gone_at
        self.amount = amount
        self.lease = 0
        self.out = 0
        self.good_until = 0.0
        """When the process stops to use the slice: before Redis lets it run out."""
        self.cut = 0
        """The newest number that Redis was told: what was taken under it can be reported once more only as a change."""
        self.lapsed = 0
        """What was taken under this number or an older one is counted as spent: its lease ran out."""
        self.room = amount
        """What was left beside all leases when Redis last said it."""
        self.heard = False
        """Whether Redis has said anything of it."""
        self.loose = 0
        """What was let in without a lease since Redis was last heard."""
        self.renewed_at = 0.0
        self.users = 0
        """Ways that are remembered, and requests that wait."""
        self.watched = False
        self.described: ActiveCounter | None = None
        """What the stream must know of a calendar counter."""
        self.registered = False
        self.recall = False
        """The limit became smaller: what is held is given back before anything is taken."""
        self._entries: Entries = {}
        self._sent: Sent | None = None
        self._told: Final = Told(kind == "S")

    @property
    def busy(self) -> bool:
        """Whether something is held, or Redis has something to learn."""
        return bool(self.lease or self.out or self._entries or self._sent)

    def quiet(self, place: int) -> bool:
        """Whether there is nothing to look after: nor would Redis have anything to ask if it lost its memory."""
        self._told.forget(place)
        return not self.busy and not self._told

    def limited_to(self, amount: int) -> None:
        """Take over the limit's amount."""
        if amount < self.amount:
            self.recall, self.good_until = True, 0.0
        elif amount > self.amount:
            self.full_until = 0.0
        self.amount = amount

    def describe(self, described: ActiveCounter) -> None:
        """Have the stream know of a calendar counter what it does not know yet."""
        if described != self.described:
            self.described, self.registered = described, False

    def take(self, need: int, place: int) -> None:
        """Take from the slice; `place`: the sub-bucket of now (sliding windows)."""
        self.free -= need
        self.out += need
        self.taken += need
        if self.kind == "S":
            self._note(place, need, 0)

    def take_loose(self, need: int, place: int) -> int:
        """Take without a lease. Returns what stands for it in a grant."""
        self.loose += need
        if self.kind == "N":
            self._back(-need)
        elif self.kind == "S":
            self._note(place, 0, need)
        return LOOSE - need

    def own(self, place: int) -> int:
        """Return what this process let in within the window that ends at `place`, as far as it still counts."""
        if self.kind == "N":
            return self.out
        self._told.forget(place)
        if self.kind == "C":
            settled = sum([entry[1] for entry in self._entries.values()])
            return self._told.total + self.out + settled + self.loose
        inside = [entry[0] + entry[1] for at, entry in self._entries.items() if at >= place - BUCKETS]
        return self._told.total + sum(inside)

    def settle(self, serial: int, reserved: int, used: int, taken_at: int, place: int) -> None:
        """Replace what was reserved under a number by what was used.

        `taken_at`: the sub-bucket it was taken in; `place`: that of now, or the sequence that confirms it (calendar windows).
        """
        loose = reserved <= LOOSE
        if loose:
            reserved = LOOSE - reserved
        less = reserved - used
        held = not loose and serial > self.lapsed
        if self.kind == "N":
            self._back(reserved)
        elif self.kind == "C":
            self._settle_pending(reserved, used, place, loose, held)
        elif loose:
            self._note(taken_at, 0, -less)
        elif less < 0:
            self._note(place, 0, -less)
        elif less > 0 and held:
            if serial > self.cut:
                self._note(taken_at, -less, 0)
                self._back(less)
            else:
                self._note(taken_at, 0, -less)

    def ask(self, number: int, give: int, need: int, want: int, beyond: Beyond) -> Ask:
        """Return what to send; what was sent and not answered is sent again instead of anything newer."""
        sent = self._sent or self._send(number, give)
        return self._asking(sent, need, want, beyond, declare=False)

    def declare(self, number: int, now: float, place: int) -> Ask:
        """Return what this process knows, after Redis may have lost it: the lease, if it has not run out, and what was told."""
        sent = self._sent or self._send(number, 0)
        self.out -= sent.give if self.kind == "N" else sent.give + sent.moved
        self.lease -= sent.give + sent.moved
        if self.kind == "S" and now >= self.good_until:
            self._lapse(number)
        elif self.kind == "C" and now >= self.good_until:
            self.lease = self.out  # what runs is reserved, whether it is counted as lost too or not
        self._told.forget(place)
        self._sent = Sent(number, self.out if self.kind == "N" else self.lease, 0, self._told.reports(), False, False)
        self._sent.moved = 0  # what is declared was moved long ago
        self.cut, self.registered = number, False
        return self._asking(self._sent, 0, 0, "B", declare=True)

    def told(self, state: State, serial: int, sent_at: float, good_until: float) -> bool:
        """Take over what Redis said. Returns False when Redis forgot what it should know: then nothing is granted."""
        sent, self._sent = self._sent, None
        assert sent is not None
        forgotten = sent.held and not state.known
        lost = (forgotten and sent_at < self.good_until) or (sent.known and not state.there)
        if forgotten and not lost and self.kind != "N":
            self._lapse(serial)
        else:
            self.out -= sent.give if self.kind == "N" else sent.give + sent.moved
        if lost:  # what is still held is declared before anything else is asked
            self.lease -= sent.give + sent.moved
            self.free, self.good_until = 0, 0.0
            return False
        self.lease = state.lease
        self.free = self.lease - self.out
        self.room = state.room
        self.renewed_at, self.good_until = sent_at, good_until
        self.heard, self.loose = True, 0
        return True

    def _send(self, number: int, give: int) -> Sent:
        give = max(0, self.free if self.recall else min(give, self.free))
        self.recall = False
        reports = told.pending(self._entries) if self.kind == "C" else told.spent(self._entries)
        known = bool(self._told)
        self._told.add(reports)
        self._entries = {}
        self.out += give
        self.free -= give
        self.cut = number
        self._sent = Sent(number, self.out - give if self.kind == "N" else 0, give, reports, self.lease > 0, known)
        return self._sent

    def _asking(self, sent: Sent, need: int, want: int, beyond: Beyond, declare: bool) -> Ask:
        return Ask(
            self.key, self.kind, self.amount, self.width, self.gone_at,
            sent.number, sent.floor, sent.give, need, want, beyond, declare, sent.reports,
        )  # fmt: skip

    def _settle_pending(self, reserved: int, used: int, place: int, loose: bool, held: bool) -> None:
        if held and used < reserved:
            self._back(reserved - used)
        moved = min(reserved, used) if held else 0
        beside = used if loose else max(0, used - reserved)
        if loose:
            self.loose = max(0, self.loose - reserved)
        if moved or beside:
            self._note(place, moved, beside)

    def _note(self, place: int, moved: int, beside: int) -> None:
        entry = self._entries.get(place)
        if entry is None:
            self._entries[place] = [moved, beside]
        else:
            entry[0] += moved
            entry[1] += beside

    def _back(self, amount: int) -> None:
        self.out -= amount
        self.free += amount

    def _lapse(self, serial: int) -> None:
        """The lease ran out: all that was out of it is booked as spent, and what was taken since is so by nobody yet.

        Nothing is taken back meanwhile: it would be from what others spent in that place.
        """
        self.lapsed, self.lease, self.out, self.free = serial, 0, 0, 0
        for entry in self._entries.values():
            entry[1] = max(0, entry[1] + entry[0])
            entry[0] = 0
