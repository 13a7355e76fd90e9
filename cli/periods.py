"""Times and periods as people write them."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from cli.errors import CommandError
from contracts.clock import rfc3339

_AGO: Final = re.compile(r"([0-9]{1,5})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> str:
    """Return a date or a time as RFC 3339; a date is its midnight in UTC. Raises CommandError."""
    try:
        if len(text) == len("2026-11-01"):
            return rfc3339(datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC))
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is not None:
            return rfc3339(parsed)
    except (ValueError, OverflowError):
        raise CommandError(f"{text!r} is no time: write 2026-11-01 or 2026-11-01T00:00:00Z", 2) from None
    raise CommandError(f"{text!r} names no zone: write 2026-11-01T00:00:00Z, or with +01:00", 2)


def since(text: str, now: datetime) -> str:
    """Return a start: a time, a date, or how long ago such as 90m, 24h, 7d. Raises CommandError."""
    ago = _AGO.fullmatch(text)
    return moment(text) if ago is None else rfc3339(now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
