"""Cutting a window into buckets: hours, days and months as a time zone has them. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from billing_api.errors import Problem
from contracts.clock import day_bounds, local_day, minute_of, month_bounds

Bucket = Literal["minute", "hour", "day", "month"]
MOST: Final = 20_000


def bounded(start: datetime, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Return the window `[start, end)`; without an end, it ends with this minute. Raises a 422 problem if it is empty."""
    end = end or minute_of(now) + timedelta(minutes=1)
    if end <= start:
        raise Problem(422, "invalid_window", "`to` must be later than `from`, and `from` not in the future")
    return start, end


def bounds(start: datetime, end: datetime, bucket: Bucket | None, time_zone: str) -> list[datetime]:
    """Return where the buckets of `[start, end)` begin. The first begins at `start`, also in the middle of an hour or day.

    Without a bucket, the window is one. Raises a 422 problem when there are too many.
    """
    found = [start]
    if bucket is None:
        return found
    for begin in _begins(start, bucket, time_zone):
        if begin >= end:
            return found
        if begin > start:
            found.append(begin)
            if len(found) > MOST:
                break
    raise Problem(422, "too_many_buckets", f"more than {MOST} buckets; take a shorter window or longer buckets")


def _begins(start: datetime, bucket: Bucket, time_zone: str) -> Iterator[datetime]:
    """Yield the beginnings of buckets for ever, from the one that holds `start`."""
    if bucket == "day":
        begin, end = day_bounds(local_day(start, time_zone), time_zone)
    elif bucket == "month":
        begin, end = _month(start, time_zone)
    else:
        begin = minute_of(start) if bucket == "minute" else _local_hour(start, time_zone)
        end = begin + timedelta(minutes=1 if bucket == "minute" else 60)
    yield begin
    yield from _begins_after(end, bucket, time_zone)


def _begins_after(begin: datetime, bucket: Bucket, time_zone: str) -> Iterator[datetime]:
    while True:
        yield begin
        if bucket == "day":
            begin = day_bounds(local_day(begin, time_zone), time_zone)[1]
        elif bucket == "month":
            begin = _month(begin, time_zone)[1]
        else:
            begin += timedelta(minutes=1 if bucket == "minute" else 60)


def _month(moment: datetime, time_zone: str) -> tuple[datetime, datetime]:
    return month_bounds(f"{local_day(moment, time_zone):%Y-%m}", time_zone)


def _local_hour(moment: datetime, time_zone: str) -> datetime:
    """Return the start of the hour on the local clock: half past in UTC where the zone is half an hour off."""
    local = moment.astimezone(ZoneInfo(time_zone))
    return (moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)).astimezone(
        UTC
    )
