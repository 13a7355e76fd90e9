"""What clients are told of limits: headers, and when to come again. Pure.

Durations are OpenAI's, which are Go's: `6m0s`, `1.5s`, `20ms`. Whatever is rounded is rounded up: who obeys gets through.
"""

import math
from datetime import datetime, timedelta

from contracts.clock import rfc3339
from proxy.errors import Shape
from proxy.headers import Headers
from proxy.ports import Denial, Grant, Principal, Refusal, Standing


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


def refusal(denial: Denial, who: Principal) -> Refusal:
    """Return what a client is told of a denial: the words are the limit's."""
    limit = denial.held.limit.id if denial.held is not None else None
    return Refusal(denial.code, denial.message, who, limit, denial.retry_after)


def _moment(standing: Standing) -> str:
    """Write when a limit is whole again, in whole seconds."""
    moment = standing.resets_at
    return rfc3339(moment + timedelta(microseconds=-moment.microsecond % 1_000_000))
