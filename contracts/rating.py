"""Rating: usage and prices in, priced lines out. Pure, exact, and the same for previews, invoices and live figures.

A price for a part (cached, cache-written or reasoning tokens) replaces its parent's for that part; without such a price, or
where the part was not reported, the parent's price applies to all of it. A model's own price goes before that of `*`.
Usage that no price covers is returned as `unpriced`, never as a line of zero.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from contracts.money import EXACT, MoneyError

PARENT: Final[dict[str, str]] = {
    "cache_read_input_tokens": "input_tokens",
    "cache_creation_input_tokens": "input_tokens",
    "reasoning_output_tokens": "output_tokens",
}
METERS: Final = (
    "requests",
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
)
ANY_MODEL: Final = "*"


@dataclass(frozen=True)
class Price:
    """What `per` units of a meter of a model cost: flat. `price_id` names the immutable row."""

    price_id: str
    model: str
    meter: str
    per: int
    price: Decimal

    def __post_init__(self) -> None:
        """Refuse what cannot be rated exactly; raises MoneyError."""
        if self.meter not in METERS:
            raise MoneyError(f"{self.meter!r} is no meter; one of {', '.join(METERS)}")
        if self.per < 1 or str(self.per).strip("0") != "1":
            raise MoneyError(f"per must be a power of ten, so that amounts are exact; got {self.per}")
        if self.price < 0:
            raise MoneyError("a price is 0 or more")


@dataclass(frozen=True)
class Line:
    """One priced quantity. `amount` is exact and unrounded."""

    model: str
    meter: str
    quantity: int
    price: Price
    amount: Decimal


@dataclass(frozen=True)
class Rated:
    """The lines of some usage, in a stable order, and the quantities for which no price exists."""

    lines: tuple[Line, ...]
    unpriced: tuple[tuple[str, str, int], ...]


Usage = Mapping[str, int | None]
"""Quantities by meter; None or absent: not reported."""


def rate(usage: Iterable[tuple[str, Usage]], prices: Iterable[Price]) -> Rated:
    """Price the usage of each model.

    Args:
        usage: pairs of model and its summed quantities, each model once.
        prices: the price book's rows; at most one for each model and meter.

    """
    book = {(price.model, price.meter): price for price in prices}
    lines: list[Line] = []
    unpriced: list[tuple[str, str, int]] = []
    for model, quantities in sorted(usage, key=lambda pair: pair[0]):
        for meter, quantity in _billable(model, quantities, book):
            price = _find(book, model, meter)
            if price is None:
                if quantity and meter != "requests":  # requests are free unless a price says otherwise
                    unpriced.append((model, meter, quantity))
            elif quantity:
                lines.append(Line(model, meter, quantity, price, amount_of(quantity, price)))
    return Rated(tuple(lines), tuple(unpriced))


def amount_of(quantity: int, price: Price) -> Decimal:
    """Return the exact amount of `quantity` units."""
    return EXACT.divide(EXACT.multiply(Decimal(quantity), price.price), Decimal(price.per))


def _find(book: Mapping[tuple[str, str], Price], model: str, meter: str) -> Price | None:
    return book.get((model, meter)) or book.get((ANY_MODEL, meter))


def _billable(model: str, quantities: Usage, book: Mapping[tuple[str, str], Price]) -> Iterable[tuple[str, int]]:
    """Yield what each meter is charged for: parts that have a price of their own leave their parent."""
    left: dict[str, int | None] = {meter: quantities.get(meter) for meter in METERS}
    for part, parent in PARENT.items():
        part_quantity, parent_quantity = left[part], left[parent]
        if part_quantity is None or _find(book, model, part) is None:
            left[part] = None
        elif parent_quantity is None or part_quantity > parent_quantity:
            raise MoneyError(f"{model}: {part} = {part_quantity} is more than {parent} = {parent_quantity}")
        else:
            left[parent] = parent_quantity - part_quantity
    return [(meter, quantity) for meter, quantity in left.items() if quantity is not None]
