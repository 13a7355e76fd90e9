"""What is said when a limit does not let a request in. Pure."""

from datetime import datetime
from typing import Final

from contracts.clock import rfc3339
from contracts.limit_windows import LENGTH
from contracts.limits import CALENDAR, MICRO, Held
from proxy.ports import Denial

WAIT_FOR_A_SLOT: Final = 1.0
"""Seconds after which a slot may be free: nobody knows."""
NAMES: Final = {
    "requests": "requests",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "total_tokens": "tokens",
    "weighted_tokens": "weighted tokens",
    "cost": "cost",
    "concurrency": "requests at once",
}
UNAVAILABLE: Final = Denial(
    "limits_unavailable", "The limits of this API key cannot be checked now. Try again shortly.", None, 1.0
)


def subject(held: Held) -> str:
    """Return the limit in words: `the team's limit of 10000 tokens a minute for the model llama`."""
    limit = held.limit
    amount = f"{limit.amount / MICRO:g}" if limit.meter == "cost" else str(limit.amount)
    window = f" a {limit.window}" if limit.window else ""
    model = f" for the model {limit.model}" if limit.model else ""
    kind = "API key" if held.kind == "key" else held.kind
    return f"the {kind}'s limit of {amount} {NAMES[limit.meter]}{window}{model}"


def reached(held: Held, retry_after: float | None, renews_at: datetime | None) -> Denial:
    """Return the denial of a limit that has no room now. `renews_at`: when its calendar window ends."""
    limit, what = held.limit, subject(held)
    if limit.meter == "concurrency":
        message = f"Reached {what}. Try again when one of them has ended."
        return Denial("concurrency_limit_exceeded", message, held, retry_after)
    if limit.window in CALENDAR or limit.meter == "cost":
        again = (
            f"It renews at {rfc3339(renews_at)}."
            if renews_at is not None
            else "Room comes back as its window moves on."
        )
        return Denial("insufficient_quota", f"Used up: {what}. {again}", held, retry_after)
    again = "It lets nothing in." if retry_after is None else f"Try again in {max(retry_after, 0.001):.3g} s."
    return Denial("rate_limit_exceeded", f"Reached {what}. {again}", held, retry_after)


def never(held: Held, need: int) -> Denial:
    """Return the denial of a request that is larger than the whole limit, or of a limit that is 0."""
    limit = held.limit
    if limit.precision == "strict" and limit.meter not in ("requests", "concurrency"):
        may = f"{need / MICRO:g}" if limit.meter == "cost" else str(need)
        what = f"This request may take {may} of {subject(held)}, and can never fit. Lower max_tokens, or send less."
        return Denial("invalid_request", what, held, None)
    return reached(held, None, None)


def longest(denials: list[Denial]) -> Denial:
    """Return the one to obey: who waits for it has waited for all."""
    return max(denials, key=lambda denial: float("inf") if denial.retry_after is None else denial.retry_after)


def slides(held: Held) -> bool:
    """Say whether the limit's window slides."""
    return held.limit.window in LENGTH
