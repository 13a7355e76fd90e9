"""What clients are told of limits: words, headers, and when to come again. Pure.

Durations are OpenAI's, which are Go's: `6m0s`, `1.5s`, `20ms`. Whatever is rounded is rounded up: who obeys gets through.
"""

import math
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from contracts.clock import rfc3339
from contracts.limits import CALENDAR, MICRO, Held
from proxy.errors import Shape
from proxy.headers import Headers
from proxy.ports import Demand, Denial, Grant, Refusal, Standing

_METERS: Final = {
    "requests": "requests",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "total_tokens": "tokens",
    "weighted_tokens": "weighted tokens",
    "cost": "of cost",
    "concurrency": "requests at once",
}
_ADVICE: Final = "Ask for shorter answers (`max_tokens`) or send a shorter prompt."
_MOST_TOKENS: Final = {"total_tokens", "weighted_tokens", "input_tokens", "output_tokens"}


def duration(seconds: float) -> bytes:
    """Write a time as OpenAI's headers do, with milliseconds at most."""
    milliseconds = math.ceil(round(max(0.0, seconds) * 1000, 6))
    if 0 < milliseconds < 1000:
        return b"%dms" % milliseconds
    whole, rest = divmod(milliseconds, 1000)
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    written = (b"%d.%03d" % (left, rest)).rstrip(b"0") if rest else b"%d" % left
    if hours:
        return b"%dh%dm%ss" % (hours, minutes, written)
    return b"%dm%ss" % (minutes, written) if minutes else written + b"s"


def fields(grant: Grant, shape: Shape, now: datetime) -> Headers:
    """Return the headers of an answer to a request that was let in."""
    found: Headers = []
    for kind, standing in grant.tightest.items():
        name, amount = kind.encode(), b"%d" % standing.held.limit.amount
        left = b"%d" % max(0, standing.remaining)
        wait = duration((standing.resets_at - now).total_seconds())
        found += [
            (b"x-ratelimit-limit-" + name, amount),
            (b"x-ratelimit-remaining-" + name, left),
            (b"x-ratelimit-reset-" + name, wait),
        ]
        if shape == "anthropic":
            start = b"anthropic-ratelimit-" + name
            found += [
                (start + b"-limit", amount),
                (start + b"-remaining", left),
                (start + b"-reset", _moment(standing).encode()),
            ]
    return found


def refusal(denial: Denial, demand: Demand, now: datetime) -> Refusal:
    """Return what a client is told of a denial, in words that say which limit it was, and when it has room again."""
    held, wait = denial.held, denial.retry_after
    if held is None:
        return Refusal(denial.code, denial.message, demand.who, None, wait)
    if denial.code == "limits_unavailable":
        words = f"{_name(held)} cannot be checked now. Try again later."
        return Refusal(denial.code, words, demand.who, held.limit.id, wait)
    if wait is None and held.limit.meter in _MOST_TOKENS and held.limit.amount > 0:
        words = f"This request may take more than {_name(held, 'the')} ever lets through. {_ADVICE}"
        return Refusal("invalid_request", words, demand.who, held.limit.id, None)
    if wait is None:
        words = f"{_name(held)} lets nothing through."
    elif held.limit.window in CALENDAR:
        zone = demand.who.time_zone
        renewal = (now + timedelta(seconds=wait)).astimezone(ZoneInfo(zone))
        words = f"{_name(held)} is used up. It renews at {_minute(renewal)} ({zone})."
    elif held.limit.meter == "concurrency":
        words = f"{_name(held)} is reached. Wait for one to end."
    else:
        words = f"{_name(held)} is reached. Try again in {duration(wait).decode()}."
    return Refusal(denial.code, words, demand.who, held.limit.id, wait)


def _name(held: Held, article: str = "The") -> str:
    """Name a limit: `The quota of 500 requests a day of this team for the model `tiny``."""
    limit = held.limit
    kind = "quota" if limit.window in CALENDAR or limit.meter == "cost" else "limit"
    amount = f"{Decimal(limit.amount) / MICRO:f}" if limit.meter == "cost" else str(limit.amount)
    window = f" a {limit.window}" if limit.window is not None else ""
    model = f" for the model `{limit.model}`" if limit.model is not None else ""
    whose = "API key" if held.kind == "key" else held.kind
    return f"{article} {kind} of {amount} {_METERS[limit.meter]}{window} of this {whose}{model}"


def _minute(moment: datetime) -> str:
    """Write a moment without seconds, the next full minute where it has some."""
    if moment.second or moment.microsecond:
        moment = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return moment.strftime("%Y-%m-%d %H:%M")


def _moment(standing: Standing) -> str:
    """Write when a limit is whole again, in whole seconds."""
    moment = standing.resets_at
    return rfc3339(moment + timedelta(microseconds=-moment.microsecond % 1_000_000))
