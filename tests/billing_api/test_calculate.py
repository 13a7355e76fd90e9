"""The calculation of invoices: exact, rounded once a line, and the same however a period is cut."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_api.invoices.calculate import Part, calculate
from contracts.money import MoneyError
from contracts.rating import METERS, Price, Usage

MODELS = ("a", "b", "")
WHOLES = ("requests", "input_tokens", "output_tokens")
counts = st.none() | st.integers(0, 10**12)
amounts = st.decimals("0", "1000", places=6, allow_nan=False, allow_infinity=False)
powers = st.integers(0, 9).map(lambda digits: 10**digits)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Usage whose parts fit in their whole."""
    usage: dict[str, int | None] = {meter: draw(counts) for meter in WHOLES}
    for whole, parts in (
        ("input_tokens", ("cache_read_input_tokens", "cache_creation_input_tokens")),
        ("output_tokens", ("reasoning_output_tokens",)),
    ):
        left = usage[whole]
        for part in parts:
            usage[part] = None if left is None else draw(st.none() | st.integers(0, left // 2))
    return usage


@st.composite
def price_sets(draw: st.DrawFn, prefix: str = "p") -> tuple[Price, ...]:
    pairs = draw(st.sets(st.tuples(st.sampled_from(["*", "a", "b"]), st.sampled_from(METERS)), max_size=8))
    return tuple(
        Price(f"{prefix}{number}", model, meter, draw(powers), draw(amounts))
        for number, (model, meter) in enumerate(sorted(pairs))
    )


@st.composite
def part_lists(draw: st.DrawFn) -> list[Part]:
    sets = [draw(price_sets(f"s{number}_")) for number in range(2)]
    by_model = st.dictionaries(st.sampled_from(MODELS), usages(), max_size=3)
    return [Part(draw(by_model), sets[draw(st.integers(0, 1))]) for _ in range(draw(st.integers(0, 4)))]


@given(part_lists())
def test_lines_sum_to_the_total_and_are_rounded_once(parts: list[Part]) -> None:
    found = calculate(parts, "EUR")
    assert sum((line.amount for line in found.lines), Decimal(0)) == found.total
    for line in found.lines:
        assert line.precise * line.price.per == line.quantity * line.price.price
        assert abs(line.amount - line.precise) <= Decimal("0.005")
        assert line.amount.as_tuple().exponent == -2
    assert len({(line.model, line.price.price_id) for line in found.lines}) == len(found.lines)


@given(part_lists())
def test_the_order_of_the_parts_changes_nothing(parts: list[Part]) -> None:
    assert calculate(parts, "EUR") == calculate(parts[::-1], "EUR")


@given(price_sets(), usages(), st.data())
def test_cutting_a_period_changes_nothing(prices: tuple[Price, ...], usage: Usage, data: st.DataObject) -> None:
    first: dict[str, int | None] = {}
    rest: dict[str, int | None] = {}
    share = data.draw(st.integers(0, 100))
    for meter, quantity in usage.items():
        first[meter] = None if quantity is None else quantity * share // 100
        rest[meter] = None if quantity is None else quantity - (first[meter] or 0)
    try:
        cut = calculate([Part({"a": first}, prices), Part({"a": rest}, prices)], "EUR")
    except MoneyError:  # an odd cut can leave more cached than there is input
        return
    assert cut == calculate([Part({"a": usage}, prices)], "EUR")


@given(part_lists())
def test_every_token_is_on_a_line_or_unpriced(parts: list[Part]) -> None:
    found = calculate(parts, "EUR")
    for whole, of_it in (
        ("input_tokens", {"input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"}),
        ("output_tokens", {"output_tokens", "reasoning_output_tokens"}),
    ):
        used = sum(usage.get(whole) or 0 for part in parts for usage in part.usage.values())
        priced = sum(line.quantity for line in found.lines if line.meter in of_it)
        assert priced + sum(quantity for _, meter, quantity in found.unpriced if meter in of_it) == used


def test_half_a_cent_is_rounded_away_from_zero_and_yen_have_no_cents() -> None:
    half = (Price("p", "*", "input_tokens", 1000, Decimal("0.005")),)
    assert calculate([Part({"a": {"input_tokens": 1000}}, half)], "EUR").total == Decimal("0.01")
    yen = calculate([Part({"a": {"input_tokens": 1500}}, (Price("p", "*", "input_tokens", 1000, Decimal(1)),))], "JPY")
    assert str(yen.total) == "2"
    assert yen.lines[0].precise == Decimal("1.5")


def test_nothing_used_costs_nothing_and_has_the_currencys_digits() -> None:
    assert str(calculate([], "EUR").total) == "0.00"
    assert calculate([], "EUR").lines == ()


def test_requests_without_a_model_are_priced_too() -> None:
    price = Price("p", "*", "output_tokens", 1, Decimal(1))
    (line,) = calculate([Part({"": {"output_tokens": 2}}, (price,))], "EUR").lines
    assert (line.model, line.meter, line.quantity) == ("", "output_tokens", 2)


def test_usage_that_contradicts_itself_is_refused() -> None:
    price = Price("p", "*", "cache_read_input_tokens", 1, Decimal(1))
    with pytest.raises(MoneyError, match="more than"):
        calculate([Part({"a": {"input_tokens": 1, "cache_read_input_tokens": 2}}, (price,))], "EUR")
