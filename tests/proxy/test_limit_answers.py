"""What clients are told of limits: durations, moments, words."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors, limit_answers
from proxy.limit_answers import duration
from proxy.ports import Denial, Grant, Refusal, Standing
from tests.proxy.fakes import held, holding

NOW = datetime(2026, 11, 21, 22, 30, 10, 500_000, tzinfo=UTC)
PARTS = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d{1,3})?)s|(\d+)ms)")


def seconds(written: bytes) -> float:
    match = PARTS.fullmatch(written.decode())
    assert match is not None, written
    hours, minutes, whole, milli = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(whole or 0) + int(milli or 0) / 1000


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (0, "0s"),
        (-3, "0s"),
        (0.02, "20ms"),
        (0.0001, "1ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (8.64, "8.64s"),
        (3600, "1h0m0s"),
        (86400 * 30, "720h0m0s"),
        (3661.25, "1h1m1.25s"),
    ],
)
def test_durations_are_openais(given: float, written: str) -> None:
    assert duration(given).decode() == written


@given(st.floats(0, 86400 * 31))
def test_a_duration_says_what_it_was_made_of_rounded_up(given: float) -> None:
    read = seconds(duration(given))
    assert given - 1e-6 <= read <= given + 0.001 + 1e-6


@given(st.integers(0, 86400 * 31 * 1000), st.integers(0, 86400 * 31 * 1000))
def test_longer_durations_are_written_longer(one: int, other: int) -> None:
    first, second = seconds(duration(one / 1000)), seconds(duration(other / 1000))
    assert (first < second) == (one < other)


def test_a_denial_is_told_in_the_limits_own_words() -> None:
    who, limit = holding(), held("requests", 500, "day")
    refusal = limit_answers.refusal(Denial("insufficient_quota", "Used up.", limit, 1789.5), who)
    assert (refusal.code, refusal.message, refusal.limit) == ("insufficient_quota", "Used up.", "lim_requests")
    assert (refusal.retry_after, refusal.who) == (1789.5, who)
    away = limit_answers.refusal(Denial("limits_unavailable", "Redis is away.", None, 3), who)
    assert (away.limit, away.retry_after) == (None, 3)


@pytest.mark.parametrize(("wait", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (86399.1, "86400")])
@pytest.mark.parametrize("shape", ["openai", "anthropic"])
def test_retry_after_is_rounded_up(wait: float, header: str, shape: Any) -> None:
    for code, status in (("rate_limit_exceeded", 429), ("limits_unavailable", 503 if shape == "openai" else 529)):
        answer = errors.answer(Refusal(code, "No.", retry_after=wait), "req_1", shape)
        assert (answer.status, dict(answer.headers)[b"retry-after"].decode()) == (status, header)
        assert b"x-should-retry" not in dict(answer.headers)


def test_nobody_is_told_to_retry_what_is_used_up_for_the_day() -> None:
    headers = dict(errors.answer(Refusal("insufficient_quota", "No.", retry_after=600), "req_1").headers)
    assert (headers[b"x-should-retry"], headers[b"retry-after"]) == (b"false", b"600")
    headers = dict(errors.answer(Refusal("rate_limit_exceeded", "No.", retry_after=None), "req_1").headers)
    assert headers[b"x-should-retry"] == b"false"
    assert b"retry-after" not in headers


def test_headers() -> None:
    grant = Grant()
    assert limit_answers.fields(grant, "anthropic", NOW) == []
    grant.tightest = {
        "requests": Standing(held("requests", 60), 59, NOW + timedelta(seconds=1)),
        "tokens": Standing(held("total_tokens", 10_000), -3, NOW + timedelta(minutes=6)),
    }
    openai = {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"59",
        b"x-ratelimit-reset-requests": b"1s",
        b"x-ratelimit-limit-tokens": b"10000",
        b"x-ratelimit-remaining-tokens": b"0",
        b"x-ratelimit-reset-tokens": b"6m0s",
    }
    assert dict(limit_answers.fields(grant, "openai", NOW)) == openai
    anthropic = {
        b"anthropic-ratelimit-requests-limit": b"60",
        b"anthropic-ratelimit-requests-remaining": b"59",
        b"anthropic-ratelimit-requests-reset": b"2026-11-21T22:30:12Z",
        b"anthropic-ratelimit-tokens-limit": b"10000",
        b"anthropic-ratelimit-tokens-remaining": b"0",
        b"anthropic-ratelimit-tokens-reset": b"2026-11-21T22:36:11Z",
    }
    assert dict(limit_answers.fields(grant, "anthropic", NOW)) == openai | anthropic


def test_refusals_that_say_the_same_are_equal() -> None:
    assert Refusal("a", "b", limit="lim", retry_after=3) == Refusal("a", "b")
    assert msgspec.structs.replace(Refusal("a", "b"), code="c") != Refusal("a", "b")
