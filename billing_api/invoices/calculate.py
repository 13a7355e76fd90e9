"""From usage and prices to an invoice's lines and sums. Pure and exact.

A period in which prices change comes as several parts, each rated with the prices then in force. Quantities of the same model
and price are one line, in however many parts they came; a line is rounded once, and totals are sums of lines (promise P5).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from contracts import money
from contracts.rating import METERS, Line, Price, Usage, amount_of, rate


@dataclass(frozen=True)
class Part:
    """Usage by model in a time when one set of prices was in force. The model of requests that named none is ''."""

    usage: Mapping[str, Usage]
    prices: tuple[Price, ...]


@dataclass(frozen=True)
class InvoiceLine:
    """One line: `precise` is exact, `amount` what is paid."""

    model: str
    meter: str
    quantity: int
    price: Price
    precise: Decimal
    amount: Decimal


@dataclass(frozen=True)
class Calculation:
    """Lines in a stable order and their sum, and the quantities (model, meter, quantity) that have no price."""

    currency: str
    lines: tuple[InvoiceLine, ...]
    unpriced: tuple[tuple[str, str, int], ...]
    total: Decimal


def calculate(parts: Iterable[Part], currency: str) -> Calculation:
    """Price the parts of a period; raises MoneyError when usage contradicts itself or the currency is unknown."""
    quantities: dict[tuple[str, Price], int] = {}
    missing: dict[tuple[str, str], int] = {}
    for part in parts:
        rated = rate(part.usage.items(), part.prices)
        for line in rated.lines:
            quantities[line.model, line.price] = quantities.get((line.model, line.price), 0) + line.quantity
        for model, meter, quantity in rated.unpriced:
            missing[model, meter] = missing.get((model, meter), 0) + quantity
    lines = tuple(
        _line(Line(model, price.meter, quantity, price, amount_of(quantity, price)), currency)
        for (model, price), quantity in sorted(quantities.items(), key=lambda item: _order(*item[0]))
    )
    unpriced = tuple((model, meter, quantity) for (model, meter), quantity in sorted(missing.items()))
    zero = money.round_amount(Decimal(0), currency)
    return Calculation(currency, lines, unpriced, money.total([zero, *(line.amount for line in lines)]))


def _order(model: str, price: Price) -> tuple[str, int, str]:
    return model, METERS.index(price.meter), price.price_id


def _line(line: Line, currency: str) -> InvoiceLine:
    rounded = money.round_amount(line.amount, currency)
    return InvoiceLine(line.model, line.meter, line.quantity, line.price, line.amount, rounded)
