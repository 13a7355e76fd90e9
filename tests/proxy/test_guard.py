"""Buckets under random attempts: never more than the bucket holds, and whoever waits as told gets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.guard import ADDRESS_BURST, ALL_BURST, ALL_PER_SECOND, Buckets, Guard, site

PAUSES = st.lists(st.floats(0, 30, allow_nan=False), max_size=60)


@given(PAUSES, st.integers(1, 5), st.floats(0.1, 10))
def test_in_no_time_are_there_more_attempts_than_the_burst_and_what_was_filled_up(pauses, burst, per_second):
    buckets, now, taken = Buckets(burst, per_second), 0.0, []
    for pause in pauses:
        now += pause / 10
        if buckets.wait("a", now) == 0.0:
            buckets.take("a", now)
            taken.append(now)
    for first, begin in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + (end - begin) * per_second + 1e-6


@given(PAUSES, st.integers(1, 5), st.floats(0.1, 10))
def test_who_waits_as_told_gets_through_and_not_before(pauses, burst, per_second):
    buckets, now = Buckets(burst, per_second), 0.0
    for pause in pauses:
        now += pause / 100
        wait = buckets.wait("a", now)
        assert wait <= 1 / per_second + 1e-9
        if wait > 1e-6:
            assert buckets.wait("a", now + wait - 1e-6) > 0
            now += wait + 1e-9
            assert buckets.wait("a", now) < 1e-6
        buckets.take("a", now)


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 3))
def test_what_is_given_back_was_never_taken(names, burst):
    buckets = Buckets(burst, 1.0)
    for name in names:
        before = buckets.wait(name, 5.0)
        if before == 0.0:
            buckets.take(name, 5.0)
            buckets.give_back(name, 5.0)
            assert buckets.wait(name, 5.0) == 0.0
    assert len(buckets) == 0, "full buckets are not remembered"


@given(st.lists(st.integers(0, 50), max_size=100))
def test_what_is_remembered_is_bounded_and_the_busy_stay(addresses):
    buckets = Buckets(1, 0.001, kept=10)
    for name in addresses:
        buckets.take(str(name), 0.0)
        assert len(buckets) <= 10
        assert buckets.wait(str(name), 0.0) > 0


def test_addresses_do_not_stand_in_each_others_way_until_all_together_are_too_many():
    guard = Guard()
    for number in range(ALL_BURST):
        assert guard.take(f"10.0.{number // ADDRESS_BURST}.1", 0.0) == 0.0
    assert guard.take("10.9.9.9", 0.0) == pytest.approx(1 / ALL_PER_SECOND)
    assert guard.take("10.9.9.9", 1.001 / ALL_PER_SECOND) == 0.0


def test_a_refused_attempt_takes_nothing():
    guard = Guard()
    for _ in range(ADDRESS_BURST):
        assert guard.take("10.0.0.1", 0.0) == 0.0
    for _ in range(2 * ALL_BURST):
        assert guard.take("10.0.0.1", 0.0) == 1.0
    assert guard.take("10.0.0.2", 0.0) == 0.0


def test_a_customer_has_one_bucket_however_many_addresses():
    assert site("2001:db8:1:2::1") == site("2001:db8:1:2:ffff::9") != site("2001:db8:1:3::1")
    assert site("::ffff:10.0.0.1") == site("10.0.0.1") != site("10.0.0.2")
    assert site(None) == ""
