"""Windows of limits. Those up to an hour slide, in sub-buckets; days and months are those of the tenant's calendar. Pure.

What was let in counts while its sub-bucket touches the last window's length: no window of that length, wherever it begins, has
more than the limit, and 64/65 of the limit can be used in the long run.
"""

from datetime import datetime
from typing import Final, NamedTuple

from contracts.clock import day_bounds, local_day, month_bounds
from contracts.limits import Window

BUCKETS: Final = 64
"""Sub-buckets of a sliding window. A power of two, so that their width is whole microseconds."""
LENGTH: Final[dict[str, int]] = {"second": 1_000_000, "minute": 60_000_000, "hour": 3_600_000_000}
"""Microseconds of the windows that slide."""


class Period(NamedTuple):
    """A calendar window `[start, end)` in UTC. `label`: `2026-11-21` or `2026-11`, in the tenant's zone."""

    label: str
    start: datetime
    end: datetime


def width(window: Window | None) -> int:
    """Return the microseconds of a sub-bucket; 0 where nothing slides."""
    return LENGTH.get(window or "", 0) // BUCKETS


def period(window: Window, now: datetime, time_zone: str) -> Period:
    """Return the calendar window that `now` is in."""
    day = local_day(now, time_zone)
    if window == "day":
        return Period(day.isoformat(), *day_bounds(day, time_zone))
    label = f"{day:%Y-%m}"
    return Period(label, *month_bounds(label, time_zone))
