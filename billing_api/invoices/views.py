"""Calculations and invoices as they are shown."""

import csv
import io
from typing import Any, Final

from billing_api.invoices.calculate import Calculation
from billing_api.invoices.models import Invoice, InvoiceLineRow
from billing_api.invoices.schemas import InvoiceSummary
from billing_api.prices.schemas import LineView, UnpricedView
from contracts.clock import rfc3339
from contracts.money import EXACT

CSV_COLUMNS: Final = (
    "number",
    "tenant",
    "currency",
    "period_from",
    "period_to",
    "model",
    "meter",
    "quantity",
    "unit_price",
    "precise_amount",
    "amount",
    "price_id",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def sums(calculation: Calculation) -> dict[str, Any]:
    """Return the fields of `Sums`. The currency's digits are shown, also of 0."""
    lines = [
        LineView(
            model=line.model or None,
            meter=line.price.meter,
            quantity=line.quantity,
            unit_price=EXACT.divide(line.price.price, line.price.per),
            price=line.price.price,
            per=line.price.per,
            amount=line.amount,
            precise_amount=line.precise,
            price_id=line.price.price_id,
        )
        for line in calculation.lines
    ]
    return {
        "currency": calculation.currency,
        "lines": lines,
        "unpriced": unpriced(calculation.unpriced),
        "subtotal": calculation.total,
        "tax": None,
        "total": calculation.total,
    }


def unpriced(found: Any) -> list[UnpricedView]:
    """Return quantities without a price, from (model, meter, quantity)."""
    return [UnpricedView(model=model or None, meter=meter, quantity=quantity) for model, meter, quantity in found]


def shown_line(row: InvoiceLineRow) -> LineView:
    """Return a stored line."""
    return LineView(
        model=row.model or None,
        meter=row.meter,
        quantity=row.quantity,
        unit_price=EXACT.divide(row.price, row.per),
        price=row.price,
        per=row.per,
        amount=row.amount,
        precise_amount=row.precise,
        price_id=row.price_id,
    )


def shown(invoice: Invoice) -> dict[str, Any]:
    """Return the fields of `InvoiceView`."""
    return {
        **{name: getattr(invoice, name) for name in InvoiceSummary.model_fields},
        "subtotal": invoice.total,
        "tax": None,
        "lines": [shown_line(line) for line in invoice.lines],
        "unpriced": unpriced(invoice.unpriced),
    }


def as_csv(invoice: Invoice) -> str:
    """Return the lines as CSV (RFC 4180). A model's name comes from clients: it never reaches a spreadsheet as a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    view = shown(invoice)
    for line in view["lines"]:
        row = {**view, **line.model_dump(mode="json")}
        row.update({name: rfc3339(view[name]) for name in ("period_from", "period_to")})
        row["model"] = f"'{row['model']}" if str(row["model"]).startswith(_FORMULA) else row["model"]
        writer.writerow([row[name] for name in CSV_COLUMNS])
    return text.getvalue()
