"""Time, as the services tell it: aware datetimes in UTC, half-open windows.

Logic never calls a clock. It takes `now` as an argument, and the shell of a service passes `utc_now()` in, so that a test
can put any moment there.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

Clock = Callable[[], datetime]
_now: Final = datetime.now  # noqa: TID251  # the one place that reads the clock; looked up once, since it is read so often


def utc_now() -> datetime:
    """Return the current time as an aware datetime in UTC, to the microsecond."""
    return _now(UTC)


def minute_of(moment: datetime) -> datetime:
    """Return the start of the UTC minute that holds `moment`."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def local_day(moment: datetime, time_zone: str) -> date:
    """Return the calendar day of `moment` in the IANA zone `time_zone`."""
    return moment.astimezone(ZoneInfo(time_zone)).date()


def day_bounds(day: date, time_zone: str) -> tuple[datetime, datetime]:
    """Return the UTC bounds `[from, to)` of a local calendar day: 23, 24 or 25 hours long."""
    zone = ZoneInfo(time_zone)
    start = datetime(day.year, day.month, day.day, tzinfo=zone)
    following = day + timedelta(days=1)
    end = datetime(following.year, following.month, following.day, tzinfo=zone)
    return start.astimezone(UTC), end.astimezone(UTC)


def month_bounds(period: str, time_zone: str) -> tuple[datetime, datetime]:
    """Return the UTC bounds `[from, to)` of a local month written `YYYY-MM`.

    Raises ValueError when `period` is no month.
    """
    first = datetime.strptime(period, "%Y-%m").replace(tzinfo=ZoneInfo(time_zone))
    carry, month = divmod(first.month, 12)
    last = first.replace(year=first.year + carry, month=month + 1)
    return first.astimezone(UTC), last.astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """Write an aware datetime as RFC 3339 in UTC with `Z`, as every interface of ours does."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
