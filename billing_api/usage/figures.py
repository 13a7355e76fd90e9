"""From ClickHouse's sums to rows with their cost. Pure, but for asking."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing_api.prices.catalogue import Catalogue
from billing_api.usage.ledger import Ledger
from billing_api.usage.query import Question, figures, from_micros
from contracts import tables
from contracts.money import EXACT, MoneyError
from contracts.rating import METERS, Usage, rate

ALL: int = 100_000
"""More (bucket, group) pairs than any question without pages has."""


@dataclass(frozen=True)
class Pricing:
    """What usage is priced with: books, and the currency of each tenant that is known."""

    books: Catalogue
    currencies: Mapping[str, str]


@dataclass
class Total:
    """Sums of one bucket and group. `cost` None: part of it has no price, or is in another currency."""

    bucket: int
    values: tuple[str | None, ...]
    sums: dict[str, int | None]
    cost: Decimal | None = Decimal(0)
    currency: str | None = None


def totals(rows: Iterable[Mapping[str, Any]], groups: int, pricing: Pricing) -> list[Total]:
    """Add up the rows of each (bucket, group), which stand together, and price them."""
    found: list[Total] = []
    for row in rows:
        values = tuple(row[f"g{number}"] for number in range(groups))
        if not found or (found[-1].bucket, found[-1].values) != (row["bucket"], values):
            found.append(Total(row["bucket"], values, dict.fromkeys(tables.SUMS)))
        _add(found[-1], row, pricing)
    return found


def _add(total: Total, row: Mapping[str, Any], pricing: Pricing) -> None:
    for name in tables.SUMS:
        total.sums[name] = _plus(total.sums[name], row[name])
    currency = pricing.currencies.get(row["tenant"])
    cost = None if currency is None else cost_of(row, pricing.books, currency)
    if cost is None or total.cost is None or total.currency not in {None, currency}:
        total.cost = total.currency = None
    else:
        total.cost, total.currency = EXACT.add(total.cost, cost), currency


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def cost_of(row: Mapping[str, Any], books: Catalogue, currency: str) -> Decimal | None:
    """Return the exact cost of a row of one tenant, model and segment; None when some of it has no price."""
    book = books.book(row["tenant"], currency, from_micros(row["segment"]))
    usage: Usage = {meter: row[meter] for meter in METERS}
    try:
        rated = rate([(row["model"] or "", usage)], book.prices if book else ())
    except MoneyError:  # parts that exceed their whole: what it costs cannot be said
        return None
    if rated.unpriced:
        return None
    cost = Decimal(0)
    for line in rated.lines:
        cost = EXACT.add(cost, line.amount)
    return cost


async def by_model(ledger: Ledger, tenant: str, cuts: Sequence[datetime], end: datetime) -> list[dict[str, Usage]]:
    """Return the usage of a tenant by model, for each of the segments that begin at `cuts`; the last ends at `end`."""
    asked = figures(Question(cuts[:1], end, cuts, (), {"tenant": [tenant]}), ALL, None)
    segments: dict[datetime, dict[str, Usage]] = {cut: {} for cut in cuts}
    for row in await ledger.rows(asked.text, asked.parameters):
        segments[from_micros(row["segment"])][row["model"] or ""] = {meter: row[meter] for meter in METERS}
    return list(segments.values())
