"""Waits grow with deaths in a row, are bounded, and are forgotten after a long life."""

from hypothesis import given
from hypothesis import strategies as st

from embedded import backoff


@given(deaths=st.integers(1, 10**6))
def test_waits_never_shrink_and_never_pass_the_limit(deaths):
    wait = backoff.wait_seconds(deaths)
    assert backoff.FIRST_SECONDS <= wait <= backoff.LONGEST_SECONDS
    assert wait <= backoff.wait_seconds(deaths + 1)


def test_the_first_wait_is_short_and_each_one_twice_the_last():
    assert [backoff.wait_seconds(deaths) for deaths in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert backoff.wait_seconds(50) == backoff.LONGEST_SECONDS


@given(before=st.integers(0, 100), ran=st.floats(0, 1e6))
def test_a_long_life_clears_the_record(before, ran):
    expected = 1 if ran >= backoff.STEADY_SECONDS else before + 1
    assert backoff.deaths_in_a_row(before, ran) == expected
