from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import minute_of
from stream import quota
from stream.quota import Day, Figures
from stream.windows import Window

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
MOMENTS = st.integers(0, 6 * 365 * 86400).map(
    lambda seconds: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


@given(MOMENTS, st.sampled_from(ZONES))
def test_a_window_is_in_its_day_and_so_is_its_quarter(moment: datetime, zone: str) -> None:
    window = Window("ten_a", minute_of(moment))
    (day,) = quota.days([window], {"ten_a": zone}, moment)
    assert day.start <= window.minute < day.end
    assert quota.days([quota.quarter(window)], {"ten_a": zone}, moment) == {day}


@pytest.mark.parametrize(
    ("moment", "zone", "day", "hours"),
    [
        (datetime(2026, 11, 20, 23, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 11, 21), 24),
        (datetime(2026, 10, 25, 12, 0, tzinfo=UTC), "Europe/Berlin", date(2026, 10, 25), 25),
        (datetime(2026, 3, 29, 12, 0, tzinfo=UTC), "Europe/Berlin", date(2026, 3, 29), 23),
        (datetime(2026, 11, 20, 23, 30, tzinfo=UTC), "UTC", date(2026, 11, 20), 24),
    ],
)
def test_local_days(moment: datetime, zone: str, day: date, hours: int) -> None:
    (found,) = quota.days([Window("ten_a", moment)], {"ten_a": zone}, moment)
    assert (found.date, found.end - found.start) == (day, timedelta(hours=hours))


def test_days_that_nobody_needs_are_left_out() -> None:
    window = Window("ten_a", datetime(2026, 11, 20, 12, tzinfo=UTC))
    last = datetime(2026, 11, 24, tzinfo=UTC)
    assert len(quota.days([window], {}, last - timedelta(seconds=1))) == 1
    assert quota.days([window], {}, last) == set()


def test_event_data() -> None:
    start = datetime(2026, 11, 20, tzinfo=UTC)
    data = quota.event_data(Day("ten_a", start.date(), start, start + timedelta(days=1)), Figures(3, 2, 20, 10))
    assert (data.window, data.window_start, data.generation) == ("day", start, 3)
    assert (data.requests, data.input_tokens, data.output_tokens) == (2, 20, 10)
