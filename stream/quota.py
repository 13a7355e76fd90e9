"""A tenant's calendar day, in the tenant's own time zone, as the ledger sees it. Pure.

The figures say how much the ledger holds of a day; proxies add what is not in it yet. They are set, never added to, and their
generation (the sum of the windows' generations) only grows, so that a late writer cannot take one back.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from contracts.clock import day_bounds, local_day
from contracts.events import QuotaData
from stream.windows import Window

DEFAULT_ZONE: Final = "UTC"
KEPT: Final = timedelta(days=3)
"""How long after its end a day's figures stay in Redis; older days are not written."""


class Day(NamedTuple):
    """A tenant's local day and its bounds `[start, end)` in UTC."""

    tenant: str
    date: date
    start: datetime
    end: datetime


class Figures(NamedTuple):
    """What the ledger holds for a day. Tokens nobody reported are no tokens here: a limit can only count what is known."""

    generation: int
    requests: int
    input_tokens: int
    output_tokens: int


def days(windows: Iterable[Window], zones: Mapping[str, str], now: datetime) -> set[Day]:
    """Return the local days that windows belong to, but for those whose figures nobody needs any more."""
    found: set[Day] = set()
    for window in windows:
        zone = zones.get(window.tenant, DEFAULT_ZONE)
        day = local_day(window.minute, zone)
        start, end = day_bounds(day, zone)
        if now < end + KEPT:
            found.add(Day(window.tenant, day, start, end))
    return found


def quarter(window: Window) -> Window:
    """Return the quarter of an hour of a window: days begin at quarters everywhere, so this is all that must be remembered."""
    return Window(window.tenant, window.minute.replace(minute=window.minute.minute // 15 * 15))


def event_data(day: Day, figures: Figures) -> QuotaData:
    """Return the figures as the data of a quota event."""
    return QuotaData(
        tenant=day.tenant,
        window="day",
        window_start=day.start,
        generation=figures.generation,
        requests=figures.requests,
        input_tokens=figures.input_tokens,
        output_tokens=figures.output_tokens,
    )
