"""Bodies and answers of invoices."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, StrictStr, StringConstraints, model_validator

from billing_api.paging import Listing
from billing_api.prices.schemas import LineView, Sums, UnpricedView
from billing_api.wire import MONTH, Amount, Body, Id, Moment, View

Status = Literal["draft", "finalized", "void"]
Month = Annotated[StrictStr, StringConstraints(pattern=MONTH)]


class PeriodIn(Body):
    """A tenant's month (`period`, in the tenant's time zone), or a window `[from, to)`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    tenant: Id
    period: Month | None = Field(default=None, examples=["2026-11"])
    start: Moment | None = Field(default=None, alias="from")
    end: Moment | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.period is not None and self.start is None and self.end is None:
            return self
        if self.period is not None or self.start is None or self.end is None:
            raise ValueError("give either period, or from and to")
        if self.end <= self.start:
            raise ValueError("`to` must be later than `from`")
        return self


class Finalization(Body):
    """How to make an invoice final."""

    accept_missing: StrictBool = Field(
        default=False, description="also when the ledger knows to lack events; they stay unbilled"
    )


class InvoiceQuery(Listing):
    """Filters of the list of invoices."""

    tenant: Id | None = None
    status: Status | None = None


class Preview(Sums):
    """What an invoice would be; nothing is stored."""

    tenant: str
    period_from: Moment
    period_to: Moment
    as_of: Moment
    missing_events: int


class InvoiceSummary(View):
    """An invoice without its lines."""

    id: str
    number: str | None
    status: Status
    tenant: str
    currency: str
    period_from: Moment
    period_to: Moment
    as_of: Moment
    total: Amount
    created_at: Moment
    finalized_at: Moment | None
    voided_at: Moment | None


class InvoiceView(InvoiceSummary):
    """An invoice. Its lines add up to its total; `unpriced` is what no price covered, and keeps a draft from becoming final."""

    subtotal: Amount
    tax: Amount | None
    lines: list[LineView]
    unpriced: list[UnpricedView]
