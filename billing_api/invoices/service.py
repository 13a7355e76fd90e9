"""Previewing, drafting, finalizing and voiding invoices.

ClickHouse is asked before the writing transaction begins, so that no lock waits for it; inside the transaction the price books
are read again, and the calculation stands only if they are the same.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from billing_api.accounts.models import Tenant
from billing_api.audit.actions import record
from billing_api.errors import Problem, not_found
from billing_api.invoices.calculate import Calculation, Part, calculate
from billing_api.invoices.models import Invoice, InvoiceLineRow
from billing_api.invoices.schemas import Finalization, InvoiceQuery, PeriodIn
from billing_api.prices.catalogue import Catalogue
from billing_api.prices.service import catalogue
from billing_api.unit import Unit
from billing_api.usage.figures import by_model
from billing_api.usage.service import missing_events
from contracts.clock import month_bounds
from contracts.ids import new_id
from contracts.money import MoneyError

_NEXT_NUMBER: Final = text(
    "INSERT INTO invoice_numbers (year, last) VALUES (:year, 1)"
    " ON CONFLICT (year) DO UPDATE SET last = invoice_numbers.last + 1 RETURNING last"
)


@dataclass(frozen=True)
class Measured:
    """What a period comes to, with the books that it was priced with, and how many events the ledger lacked."""

    tenant: str
    start: datetime
    end: datetime
    books: Catalogue
    calculation: Calculation
    missing_events: int


async def measure(unit: Unit, body: PeriodIn) -> Measured:
    """Price a tenant's period. Raises a 409 problem when the usage contradicts itself, 503 without ClickHouse."""
    async with unit.services.database.reading() as session:
        tenant = await session.get(Tenant, body.tenant)
        if tenant is None:
            raise Problem(422, "unknown_tenant", f"there is no tenant {body.tenant!r}")
        start, end = _window(body, tenant)
        books = await catalogue(session, start, end, [tenant.id])
    return await _measure(unit, tenant, start, end, books)


async def _measure(unit: Unit, tenant: Tenant, start: datetime, end: datetime, books: Catalogue) -> Measured:
    ledger, cuts = unit.services.ledger, books.cuts(start, end)
    chosen = [books.book(tenant.id, tenant.currency, cut) for cut in cuts]
    usage = await by_model(ledger, tenant.id, cuts, end)
    parts = [Part(used, book.prices if book else ()) for used, book in zip(usage, chosen, strict=True)]
    try:
        calculation = calculate(parts, tenant.currency)
    except MoneyError as error:
        raise Problem(409, "inconsistent_usage", f"the usage of {tenant.id} contradicts itself: {error}") from error
    return Measured(tenant.id, start, end, books, calculation, await missing_events(ledger))


async def draft(unit: Unit, body: PeriodIn) -> Invoice:
    """Create the draft of a tenant's period, or calculate it anew; one that is final already is returned as it is."""
    measured = await measure(unit, body)
    tenant = await unit.session.get(Tenant, measured.tenant, with_for_update=True)
    assert tenant is not None
    await _refuse_other_prices(unit, measured)
    covers = f"{tenant.id}:{measured.start.isoformat()}:{measured.end.isoformat()}"
    invoice = await unit.session.scalar(select(Invoice).where(Invoice.covers == covers))
    if invoice is None:
        await _refuse_overlap(unit.session, measured)
        invoice = Invoice(
            id=new_id("inv", unit.now_ms),
            status="draft",
            tenant=tenant.id,
            currency=tenant.currency,
            period_from=measured.start,
            period_to=measured.end,
            covers=covers,
            created_at=unit.now,
            lines=[],
        )
        unit.session.add(invoice)
        record(unit, "invoice.create", invoice.id, body.model_dump(mode="json", by_alias=True, exclude_none=True))
    if invoice.status == "draft":
        await _fill(unit, invoice, measured)
    return invoice


async def finalize(unit: Unit, wanted: str, body: Finalization) -> Invoice:
    """Calculate a draft for the last time, number it, and close it. One that is final already is returned as it is.

    Raises 409 problems: `invoice_void`, `period_open`, `usage_incomplete`, `unpriced_usage`, `prices_changed`.
    """
    async with unit.services.database.reading() as session:
        before = await find(session, wanted)
        if before.status == "finalized":
            return before
        tenant = await session.get(Tenant, before.tenant)
        assert tenant is not None
        start, end = before.period_from, before.period_to
        books = await catalogue(session, start, end, [tenant.id])
    _refuse_early(before, unit.now)
    measured = await _measure(unit, tenant, start, end, books)
    _refuse_unready(measured, body)
    invoice = await find(unit.session, wanted, lock=True)
    if invoice.status == "finalized":
        return invoice
    _refuse_early(invoice, unit.now)
    await _refuse_other_prices(unit, measured)
    await _fill(unit, invoice, measured)
    invoice.number = await _number(unit)
    invoice.status, invoice.finalized_at = "finalized", unit.now
    details = {"number": invoice.number, "total": str(invoice.total), "missing_events": measured.missing_events}
    record(unit, "invoice.finalize", invoice.id, details)
    return invoice


async def void(unit: Unit, wanted: str) -> Invoice:
    """Take an invoice back; its number stays used. Doing it again changes nothing."""
    invoice = await find(unit.session, wanted, lock=True)
    if invoice.status != "void":
        invoice.status, invoice.voided_at, invoice.covers = "void", unit.now, None
        record(unit, "invoice.void", invoice.id, {"number": invoice.number})
    return invoice


async def find(session: AsyncSession, wanted: str, *, lock: bool = False) -> Invoice:
    """Return an invoice with its lines; raises a 404 problem."""
    invoice = await session.get(Invoice, wanted, with_for_update=lock)
    if invoice is None:
        raise not_found("invoice", wanted)
    return invoice


def listing(asked: InvoiceQuery) -> Select[Invoice]:
    """Select invoices."""
    return select(Invoice).filter_by(**asked.model_dump(exclude_none=True, exclude={"limit", "cursor"}))


def _window(body: PeriodIn, tenant: Tenant) -> tuple[datetime, datetime]:
    if body.period is not None:
        return month_bounds(body.period, tenant.time_zone)
    assert body.start is not None
    assert body.end is not None
    return body.start, body.end


async def _fill(unit: Unit, invoice: Invoice, measured: Measured) -> None:
    """Store a calculation in a draft."""
    calculation = measured.calculation
    invoice.as_of, invoice.total, invoice.unpriced = unit.now, calculation.total, list(calculation.unpriced)
    invoice.lines.clear()
    await unit.session.flush()
    invoice.lines.extend(
        InvoiceLineRow(
            position=position,
            model=line.model,
            meter=line.meter,
            quantity=line.quantity,
            price_id=line.price.price_id,
            price=line.price.price,
            per=line.price.per,
            precise=line.precise,
            amount=line.amount,
        )
        for position, line in enumerate(calculation.lines)
    )


async def _refuse_other_prices(unit: Unit, measured: Measured) -> None:
    books = await catalogue(unit.session, measured.start, measured.end, [measured.tenant])
    if books != measured.books:
        raise Problem(409, "prices_changed", "the price books changed meanwhile; try again", {"retry-after": "1"})


async def _number(unit: Unit) -> str:
    """Give the next number of the year. The row is locked until the commit, and a rollback gives the number back: no gaps."""
    last = await unit.session.scalar(_NEXT_NUMBER, {"year": unit.now.year})
    return f"INV-{unit.now.year}-{last:06d}"


def _refuse_early(invoice: Invoice, now: datetime) -> None:
    if invoice.status == "void":
        raise Problem(409, "invoice_void", f"{invoice.id} is void; create another")
    if invoice.period_to > now:
        raise Problem(409, "period_open", f"the period of {invoice.id} has not ended")


def _refuse_unready(measured: Measured, body: Finalization) -> None:
    if measured.missing_events and not body.accept_missing:
        detail = f"the ledger lacks {measured.missing_events} events; wait for them, or set accept_missing"
        raise Problem(409, "usage_incomplete", detail, missing_events=measured.missing_events)
    if measured.calculation.unpriced:
        names = ", ".join(f"{meter} of {model or 'no model'}" for model, meter, _ in measured.calculation.unpriced[:5])
        raise Problem(409, "unpriced_usage", f"no price covers {names}; add a price book for that time")


async def _refuse_overlap(session: AsyncSession, measured: Measured) -> None:
    other = select(Invoice.id).where(
        Invoice.tenant == measured.tenant,
        Invoice.status != "void",
        Invoice.period_from < measured.end,
        Invoice.period_to > measured.start,
    )
    if (found := await session.scalar(other.limit(1))) is not None:
        raise Problem(409, "period_overlaps", f"{found} covers a part of this period", id=found)
