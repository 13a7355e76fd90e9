"""Windows are half-open, local days may have 23 or 25 hours, and they leave no gap."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import clock

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe"]
moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments, st.sampled_from(ZONES))
def test_every_moment_lies_in_its_local_day(moment, zone):
    day = clock.local_day(moment, zone)
    start, end = clock.day_bounds(day, zone)
    assert start <= moment < end


@given(st.dates(date(2020, 1, 1), date(2035, 1, 1)), st.sampled_from(ZONES))
def test_days_join_without_gap(day, zone):
    assert clock.day_bounds(day, zone)[1] == clock.day_bounds(day + timedelta(days=1), zone)[0]


def test_the_day_of_the_clock_change_has_25_hours():
    start, end = clock.day_bounds(date(2026, 10, 25), "Europe/Berlin")
    assert end - start == timedelta(hours=25)


@pytest.mark.parametrize(
    ("period", "zone", "start", "end"),
    [
        ("2026-11", "UTC", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        ("2026-12", "Europe/Berlin", "2026-11-30T23:00:00Z", "2026-12-31T23:00:00Z"),
        ("2026-03", "Europe/Berlin", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
    ],
)
def test_month_bounds(period, zone, start, end):
    assert tuple(map(clock.rfc3339, clock.month_bounds(period, zone))) == (start, end)


@pytest.mark.parametrize("wrong", ["2026", "2026-13", "november", "2026-11-01"])
def test_what_is_no_month_is_refused(wrong):
    with pytest.raises(ValueError):
        clock.month_bounds(wrong, "UTC")


@given(moments)
def test_a_minute_holds_its_moment(moment):
    minute = clock.minute_of(moment)
    assert minute <= moment < minute + timedelta(minutes=1)
    assert minute.second == minute.microsecond == 0
