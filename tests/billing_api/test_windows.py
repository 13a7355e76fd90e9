"""Buckets of a window: they cover it without gap or overlap, in every zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_api.errors import Problem
from billing_api.usage.windows import MOST, Bucket, bounded, bounds

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia")
SPAN = {
    "minute": timedelta(hours=3),
    "hour": timedelta(days=9),
    "day": timedelta(days=400),
    "month": timedelta(days=800),
}
moments = st.integers(0, 10 * 365 * 86_400 * 10**6).map(
    lambda number: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)
)


@given(moments, st.sampled_from(sorted(SPAN)), st.sampled_from(ZONES), st.data())
def test_buckets_cover_the_window_and_begin_on_the_local_clock(
    start: datetime, bucket: Bucket, zone: str, data: st.DataObject
) -> None:
    end = start + data.draw(st.timedeltas(timedelta(microseconds=1), SPAN[bucket]))
    found = bounds(start, end, bucket, zone)
    assert found[0] == start
    assert found == sorted(set(found))
    assert found[-1] < end
    for begin in found[1:]:
        local = begin.astimezone(ZoneInfo(zone))
        assert (local.second, local.microsecond) == (0, 0)
        if bucket in {"day", "month"}:
            assert (local.hour, local.minute) == (0, 0)
        if bucket == "month":
            assert local.day == 1
        if bucket == "hour" and zone != "Australia/Lord_Howe":
            assert local.minute == 0
    if bucket == "day":
        assert len(found) == len({moment.astimezone(ZoneInfo(zone)).date() for moment in found})
    longest = {"minute": 60, "hour": 3600, "day": 25 * 3600, "month": 31 * 86400 + 3600}[bucket]
    for begin, following in zip(found, [*found[1:], end], strict=True):
        assert timedelta(0) < following - begin <= timedelta(seconds=longest)


def test_without_a_bucket_the_window_is_one() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert bounds(start, start + timedelta(days=9000), None, "UTC") == [start]


def test_too_many_buckets_are_refused() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert len(bounds(start, start + timedelta(minutes=MOST), "minute", "UTC")) == MOST
    with pytest.raises(Problem, match="more than"):
        bounds(start, start + timedelta(minutes=MOST + 1), "minute", "UTC")


def test_a_window_ends_with_this_minute_unless_it_is_told() -> None:
    now = datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert bounded(start, None, now) == (start, datetime(2026, 1, 1, 12, 31, tzinfo=UTC))
    with pytest.raises(Problem):
        bounded(start, start, now)
