"""Rating: parts leave their parent, nothing unpriced disappears, splitting usage changes no sum."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.money import MoneyError, total
from contracts.rating import METERS, PARENT, Price, rate

MILLION = 10**6


def price(meter, amount, model="*", per=MILLION):
    return Price(f"price_{model}_{meter}", model, meter, per, Decimal(amount))


def sums(rated):
    return {(line.model, line.meter): (line.quantity, line.amount) for line in rated.lines}


def test_a_cached_price_takes_the_cached_part_out_of_the_input():
    prices = [price("input_tokens", "0.50"), price("cache_read_input_tokens", "0.05")]
    rated = rate([("llama", {"input_tokens": 1000, "cache_read_input_tokens": 400, "output_tokens": None})], prices)
    assert sums(rated) == {
        ("llama", "input_tokens"): (600, Decimal("0.0003")),
        ("llama", "cache_read_input_tokens"): (400, Decimal("0.00002")),
    }
    assert rated.unpriced == ()


def test_without_a_cached_price_the_inputs_price_applies_to_all():
    rated = rate([("llama", {"input_tokens": 1000, "cache_read_input_tokens": 400})], [price("input_tokens", "0.50")])
    assert sums(rated) == {("llama", "input_tokens"): (1000, Decimal("0.0005"))}


def test_a_part_that_was_not_reported_stays_with_its_parent():
    prices = [price("output_tokens", "2"), price("reasoning_output_tokens", "9")]
    rated = rate([("llama", {"output_tokens": 10, "reasoning_output_tokens": None})], prices)
    assert sums(rated) == {("llama", "output_tokens"): (10, Decimal("0.00002"))}


def test_a_models_own_price_goes_before_the_general_one():
    prices = [price("input_tokens", "1"), price("input_tokens", "3", model="big")]
    rated = rate([("big", {"input_tokens": MILLION}), ("small", {"input_tokens": MILLION})], prices)
    assert {line.model: line.amount for line in rated.lines} == {"big": 3, "small": 1}


def test_what_has_no_price_is_reported_not_billed_as_zero():
    rated = rate([("llama", {"input_tokens": 5, "output_tokens": 7, "requests": 1})], [price("input_tokens", "1")])
    assert rated.unpriced == (("llama", "output_tokens", 7),)


def test_more_cached_than_input_is_an_error():
    with pytest.raises(MoneyError, match="more than"):
        rate([("m", {"input_tokens": 1, "cache_read_input_tokens": 2})], [price("cache_read_input_tokens", "1")])


@pytest.mark.parametrize("wrong", [{"per": 3}, {"per": 0}, {"per": 20}, {"meter": "tokens"}, {"price": Decimal(-1)}])
def test_prices_that_cannot_be_rated_exactly_are_refused(wrong):
    good: dict[str, Any] = {"price_id": "p", "model": "*", "meter": "input_tokens", "per": 1000, "price": Decimal(1)}
    Price(**good)
    with pytest.raises(MoneyError):
        Price(**{**good, **wrong})


counts = st.integers(0, 10**12)


@st.composite
def usages(draw):
    usage = {meter: draw(counts) for meter in ("requests", "input_tokens", "output_tokens")}
    for part, parent in PARENT.items():
        usage[part] = draw(st.integers(0, usage[parent] // 2))
    return usage


@given(usages(), usages(), st.sets(st.sampled_from(METERS)))
def test_rating_two_halves_adds_up_to_rating_the_whole(first, second, priced):
    prices = [price(meter, f"0.{place + 1}7") for place, meter in enumerate(sorted(priced))]
    whole = rate([("m", {meter: first[meter] + second[meter] for meter in METERS})], prices)
    halves = [rate([("m", half)], prices) for half in (first, second)]
    assert total([line.amount for line in whole.lines]) == total([x.amount for half in halves for x in half.lines])


@given(usages(), st.sets(st.sampled_from(METERS)))
def test_every_token_is_priced_or_unpriced_exactly_once(usage, priced):
    rated = rate([("m", usage)], [price(meter, "1") for meter in priced])
    for parent in ("input_tokens", "output_tokens"):
        family = {parent, *(part for part, of in PARENT.items() if of == parent)}
        billed = sum(line.quantity for line in rated.lines if line.meter in family)
        open_ = sum(quantity for _, meter, quantity in rated.unpriced if meter in family)
        assert billed + open_ == usage[parent]
