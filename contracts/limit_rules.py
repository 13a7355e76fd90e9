"""Which limits make sense: one set of rules for the billing API and for fleet files. Pure."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from contracts.limits import MICRO, Meter, Precision, WhenReached, Window

MOST: Final = 9 * 10**15
"""The greatest amount of a record: Redis' scripts count in doubles, which are exact up to here."""
MOST_OF_ONE: Final = 64
"""Limits that one subject or plan may have: each request asks all of them."""
ALWAYS_STRICT: Final = frozenset({"requests", "concurrency"})
COST_DIGITS: Final = 6
_INEXACT: Final = ("give a whole number", f"a cost has at most {COST_DIGITS} digits after the point")


def record_amount(meter: Meter, amount: Decimal) -> int:
    """Return an amount as records have it: whole units, or millionths of the currency. `flaw` must have found none."""
    return int(amount * MICRO) if meter == "cost" else int(amount)


def flaw(
    *,
    meter: Meter,
    window: Window | None,
    amount: Decimal,
    precision: Precision,
    notify_at: Sequence[int],
    when_reached: WhenReached,
    degrade_to: str | None,
    model: str | None,
) -> tuple[str, str] | None:
    """Return the field that is wrong and why, in words; None: the limit makes sense."""
    checks = (
        (
            meter == "concurrency" and window is not None,
            "window",
            "concurrency counts what runs at once: it has no window",
        ),
        (meter != "concurrency" and window is None, "window", "give second, minute, hour, day or month"),
        (amount < 0, "amount", "an amount is 0 or more"),
        (amount != round(amount, _digits(meter)), "amount", _INEXACT[meter == "cost"]),
        (record_amount(meter, amount) > MOST, "amount", f"at most {MOST // MICRO if meter == 'cost' else MOST}"),
        (precision == "expected" and meter in ALWAYS_STRICT, "precision", f"a limit of {meter} is always strict"),
        (len(set(notify_at)) < len(notify_at), "notify_at", "the same percentage twice"),
        (
            (when_reached == "degrade") != (degrade_to is not None),
            "degrade_to",
            "goes with when_reached: degrade, always",
        ),
        (degrade_to is not None and degrade_to == model, "degrade_to", "the limit is of this very model: name another"),
    )
    return next(((field, words) for wrong, field, words in checks if wrong), None)


def _digits(meter: Meter) -> int:
    return COST_DIGITS if meter == "cost" else 0
