"""Money: `Decimal` amounts in a currency. The only place that rounds.

Amounts travel as plain decimal strings. A float is refused wherever money is read, because it has already lost what the
sender meant. Unrounded amounts are exact (`exact`): a calculation that would have to drop a digit raises instead.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Final

from iso4217 import Currency

EXACT: Final = Context(prec=60, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""Arithmetic that raises `decimal.Inexact` rather than lose a digit; 60 digits hold tokens of a decade times any price."""


class MoneyError(ValueError):
    """An amount or a currency that cannot be taken as it was written."""


def parse(text: object) -> Decimal:
    """Read an amount from a plain decimal string (or an int or Decimal); raise MoneyError for anything else."""
    if isinstance(text, bool) or not isinstance(text, str | int | Decimal):
        raise MoneyError(f"an amount is a decimal string such as '0.50', not {type(text).__name__}")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise MoneyError(f"{text!r} is no decimal number") from None
    if not value.is_finite() or (isinstance(text, str) and not _is_plain(text)):
        raise MoneyError(f"{text!r} is no plain decimal number")
    if value.adjusted() > 20 or int(value.as_tuple().exponent) < -20:
        raise MoneyError(f"{text!r} has more than 20 digits before or after the point")
    return value


def render(amount: Decimal) -> str:
    """Write an amount as a plain decimal string, without an exponent and without trailing zeros it was not given."""
    return f"{amount:f}"


def precise(amount: Decimal) -> str:
    """Write an unrounded amount in its shortest plain form."""
    return f"{amount.normalize(EXACT):f}" if amount else "0"


def minor_digits(currency: str) -> int:
    """Return how many digits after the point a currency is paid in (EUR 2, JPY 0); raise MoneyError when unknown."""
    try:
        digits = Currency(currency).exponent
    except ValueError:
        raise MoneyError(f"{currency!r} is no ISO 4217 currency code such as 'EUR'") from None
    if digits is None:
        raise MoneyError(f"{currency!r} is no currency that invoices can be paid in")
    return int(digits)


def round_amount(amount: Decimal, currency: str) -> Decimal:
    """Round to what the currency is paid in, halves away from zero as on paper invoices. Nothing else may round."""
    return amount.quantize(Decimal(1).scaleb(-minor_digits(currency)), rounding=ROUND_HALF_UP, context=Context(prec=60))


def total(amounts: Sequence[Decimal]) -> Decimal:
    """Add amounts exactly."""
    result = Decimal(0)
    for amount in amounts:
        result = EXACT.add(result, amount)
    return result


def _is_plain(text: str) -> bool:
    body = text.removeprefix("-")
    return body.replace(".", "", 1).isdecimal() and body.isascii() and body[0] != "." and body[-1] != "."
