"""Times as people write them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.errors import CommandError
from cli.periods import moment, since
from contracts.clock import rfc3339

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@given(st.datetimes(timezones=st.timezones()).filter(lambda value: 1990 < value.year < 2100))
def test_a_moment_keeps_its_instant(value):
    written = moment(value.isoformat(timespec="microseconds"))
    assert written.endswith("Z")
    assert abs(datetime.fromisoformat(written) - value) < timedelta(seconds=60)  # old zones had offsets of seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", "2026-11-01T00:00:00Z"),
        ("2026-11-01T01:00:00+02:00", "2026-10-31T23:00:00Z"),
        ("90m", "2026-11-21T10:30:00Z"),
        ("24h", "2026-11-20T12:00:00Z"),
        ("7d", "2026-11-14T12:00:00Z"),
    ],
)
def test_a_start_is_a_time_a_date_or_how_long_ago(text, expected):
    assert since(text, NOW) == expected


@given(st.text(max_size=30))
def test_anything_else_is_refused_with_an_explanation(text):
    try:
        written = since(text, NOW)
    except CommandError:
        return
    assert written.endswith("Z")


@pytest.mark.parametrize("text", ["", "2026-11-01T00:00:00", "2026-02-30", "-3d", "9999999d", "now"])
def test_what_is_no_time(text):
    with pytest.raises(CommandError, match="write"):
        since(text, NOW)


def test_the_ends_of_time_are_no_crash():
    assert since("99999d", NOW) == "1753-02-06T12:00:00Z"
    with pytest.raises(CommandError):
        moment("0001-01-01T00:00:00+05:00")


def test_rfc3339_is_what_the_interface_says():
    assert moment(rfc3339(NOW)) == rfc3339(NOW)
