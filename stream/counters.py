"""The limits' counters of days and months, as far as the ledger corrects them. Pure.

A counter has what it was told (`pending`) under the sequence that tells the ledger too. Once the ledger has all up to that
sequence, the entry is in the ledger's total, and is dropped where the total is set (`contracts.quota_feedback`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from contracts.limits import Meter, SubjectKind, weighted
from contracts.quota_feedback import ActiveCounter

LEDGERED: Final[frozenset[Meter]] = frozenset(
    {"requests", "input_tokens", "output_tokens", "total_tokens", "weighted_tokens"}
)
"""Meters that the ledger has totals of. Not cost: usage is not rated there."""
_PENDING: Final = "p:"


class Scan(NamedTuple):
    """Counters that one look at the ledger answers: of subjects of one kind, within `[start, end)`."""

    kind: SubjectKind
    start: datetime
    end: datetime


class Totals(NamedTuple):
    """What the ledger holds for a subject. Tokens that nobody reported are none."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, other: "Totals") -> "Totals":
        """Return the sum of both."""
        return Totals(*map(sum, zip(self, other, strict=True)))


class Scanned(NamedTuple):
    """What a look at the ledger found, all of it at one moment.

    `generations`: tenant → the generation of all its windows. `totals`: (tenant, subject, model or None) → what was used.
    """

    generations: dict[str, int]
    totals: dict[tuple[str, str, str | None], Totals]


class State(NamedTuple):
    """A counter as Redis has it. `generation` None: the ledger's total was never set.

    `told`: the sum of what is pending; `pending`: epoch → the lowest sequence of it.
    """

    generation: int | None
    ledgered: int
    told: int
    pending: dict[str, int]


def scan_of(counter: ActiveCounter) -> Scan:
    """Return the look at the ledger that answers a counter."""
    return Scan(counter.kind, counter.start, counter.end)


def amount(meter: Meter, totals: Totals) -> int:
    """Return the totals on a meter, one of `LEDGERED`."""
    if meter == "requests":
        return totals.requests
    if meter == "input_tokens":
        return totals.input_tokens
    if meter == "output_tokens":
        return totals.output_tokens
    if meter == "total_tokens":
        return totals.input_tokens + totals.output_tokens
    if meter == "weighted_tokens":
        return weighted(totals.input_tokens, totals.output_tokens)
    raise ValueError(f"the ledger has no total of {meter}")


def state(fields: Mapping[str, str]) -> State:
    """Return what the fields of a counter's key say."""
    pending: dict[str, int] = {}
    for name in fields:
        if name.startswith(_PENDING):
            epoch, _, sequence = name.removeprefix(_PENDING).rpartition(":")
            pending[epoch] = min(pending.get(epoch, int(sequence)), int(sequence))
    generation = fields.get("generation")
    return State(
        None if generation is None else int(generation),
        int(fields.get("ledgered", 0)),
        int(fields.get("pending", 0)),
        pending,
    )


def confirms(contiguous: Mapping[str, int], pending: Mapping[str, int]) -> bool:
    """Say whether the ledger has something that is pending."""
    return any(sequence <= contiguous.get(epoch, 0) for epoch, sequence in pending.items())


def within(counter: ActiveCounter, moments: Iterable[datetime]) -> bool:
    """Say whether any of the moments is in the counter's window."""
    return any(counter.start <= moment < counter.end for moment in moments)


def correction(before: State, ledgered: int, pending_after: int) -> int:
    """Return by how much setting the ledger's total has changed what is used: its drift, once nothing is under way.

    What the ledger has before it drops it from `pending` is corrected twice, to and fro. Of a counter that was set for the
    first time only what it was told can have drifted: the rest was used before it was there.
    """
    known = before.ledgered
    if before.generation is None:
        known = max(0, ledgered - before.told)
    return ledgered - known - (before.told - pending_after)
