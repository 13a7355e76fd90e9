"""Bodies and answers of price books."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictInt, model_validator

from billing_api.paging import Listing
from billing_api.wire import Amount, Body, Count, Currency, Id, Moment, Name, Precise, View
from contracts.rating import METERS, Price

Meter = Literal[
    "requests",
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
]
assert set(METERS) == set(Meter.__args__)  # type: ignore[attr-defined]


class PriceIn(Body):
    """What `per` units of a meter cost. `*` stands for every model without a price of its own."""

    model: Name = "*"
    meter: Meter
    pricing: Literal["flat"] = "flat"
    per: StrictInt = Field(default=1_000_000, ge=1, le=10**12, description="a power of ten, so that amounts are exact")
    price: Amount

    @model_validator(mode="before")
    @classmethod
    def _only_flat(cls, fields: Any) -> Any:
        if isinstance(fields, Mapping) and fields.get("pricing", "flat") != "flat":
            raise ValueError("only `flat` pricing can be rated so far")
        return fields

    @model_validator(mode="after")
    def _can_be_rated(self) -> Self:
        Price("price", self.model, self.meter, self.per, self.price)
        return self


class PriceBookIn(Body):
    """A new price book. `tenant` null: for every tenant that has none of its own in force."""

    name: Name
    currency: Currency
    effective_from: Moment
    effective_to: Moment | None = None
    tenant: Id | None = None
    prices: Annotated[list[PriceIn], Field(min_length=1, max_length=2000)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.effective_to is not None and self.effective_to <= self.effective_from:
            raise ValueError("effective_to must be later than effective_from")
        if len({(price.model, price.meter) for price in self.prices}) < len(self.prices):
            raise ValueError("two prices for the same model and meter")
        return self


class PriceBookPatch(Body):
    """A new name, or an earlier or later end. The end of a book cannot be moved into the past."""

    name: Name = ""
    effective_to: Moment | None = None


class PriceBookQuery(Listing):
    """Filters of the list of price books."""

    tenant: Id | None = None
    currency: Currency | None = None


class PriceView(View):
    """An immutable price."""

    id: str
    model: str
    meter: Meter
    pricing: Literal["flat"] = "flat"
    per: int
    price: Amount


class PriceBookView(View):
    """A price book with its prices."""

    id: str
    name: str
    currency: str
    tenant: str | None
    effective_from: Moment
    effective_to: Moment | None
    created_at: Moment
    prices: list[PriceView]


class ModelUsage(Body):
    """Quantities of one model. Null or left out: not reported."""

    model: Name
    requests: Count | None = None
    input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    output_tokens: Count | None = None
    reasoning_output_tokens: Count | None = None


class QuoteIn(Body):
    """Usage to be priced: as a tenant would pay at a time (default: now), or by a given book."""

    tenant: Id | None = None
    price_book: Id | None = None
    at: Moment | None = None
    usage: Annotated[list[ModelUsage], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.tenant is None) == (self.price_book is None):
            raise ValueError("give either tenant or price_book")
        if self.price_book is not None and self.at is not None:
            raise ValueError("`at` goes with tenant: a price_book has one set of prices")
        if len({usage.model for usage in self.usage}) < len(self.usage):
            raise ValueError("the same model twice; add its quantities up")
        return self


class LineView(View):
    """A priced quantity: `quantity` × `unit_price` = `precise_amount`, exactly; `amount` is that rounded to the currency.

    `price` for `per` units is how the price book writes it.
    """

    model: str | None
    meter: Meter
    quantity: int
    unit_price: Precise
    price: Amount
    per: int
    amount: Amount
    precise_amount: Precise
    price_id: str


class UnpricedView(View):
    """A quantity that no price covers."""

    model: str | None
    meter: Meter
    quantity: int


class Sums(View):
    """Lines and what they add up to: each line is rounded once, the total is their sum. `tax` null: none is reckoned."""

    currency: str
    lines: list[LineView]
    unpriced: list[UnpricedView]
    subtotal: Amount
    tax: Amount | None
    total: Amount


class QuoteView(Sums):
    """Priced usage; `price_book` null: none applies."""

    price_book: str | None
