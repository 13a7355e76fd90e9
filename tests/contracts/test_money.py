"""Money: nothing but `round_amount` rounds, floats are refused, sums are exact."""

from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import money

amounts = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12)


@given(amounts)
def test_what_is_rendered_reads_back(amount):
    assert money.parse(money.render(amount)) == amount
    assert money.parse(money.precise(amount)) == amount


@pytest.mark.parametrize(
    "wrong", [0.5, True, None, [], "1e3", "NaN", "Infinity", "", " 1", "+1", ".5", "5.", "1_0", "٣", "-"]
)
def test_what_is_no_plain_decimal_string_is_refused(wrong):
    with pytest.raises(money.MoneyError):
        money.parse(wrong)


@pytest.mark.parametrize("wrong", ["1" * 22, "0." + "0" * 20 + "1"])
def test_absurd_precision_is_refused(wrong):
    with pytest.raises(money.MoneyError, match="20 digits"):
        money.parse(wrong)


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("1.005", "EUR", "1.01"),
        ("-1.005", "EUR", "-1.01"),
        ("1.5", "JPY", "2"),
        ("1.0005", "KWD", "1.001"),
        ("2", "USD", "2.00"),
    ],
)
def test_rounding_is_half_away_from_zero_in_the_currencys_minor_unit(amount, currency, rounded):
    assert str(money.round_amount(Decimal(amount), currency)) == rounded


@pytest.mark.parametrize("currency", ["EURO", "", "XXX", "eur "])
def test_unknown_currencies_are_refused(currency):
    with pytest.raises(money.MoneyError):
        money.round_amount(Decimal(1), currency)


@given(st.lists(amounts, max_size=50))
def test_totals_do_not_depend_on_order(values):
    assert money.total(values) == money.total(list(reversed(values))) == sum(values, Decimal(0))


def test_exact_arithmetic_raises_rather_than_lose_a_digit():
    with pytest.raises(Inexact):
        money.EXACT.divide(Decimal(1), Decimal(3))
