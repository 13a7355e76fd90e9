"""`/v1/invoices`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from billing_api.invoices import service
from billing_api.invoices.models import Invoice
from billing_api.invoices.schemas import Finalization, InvoiceQuery, InvoiceSummary, InvoiceView, PeriodIn, Preview
from billing_api.invoices.views import as_csv, shown, sums
from billing_api.paging import page
from billing_api.unit import AskingRoute, Work, WorkRoute
from billing_api.wire import Page, Wanted

router = APIRouter(prefix="/v1/invoices", tags=["invoices"], route_class=WorkRoute)
asking = APIRouter(prefix="/v1/invoices", tags=["invoices"], route_class=AskingRoute)


@asking.post("/preview")
async def preview_invoice(body: PeriodIn, unit: Work) -> Preview:
    """Say what an invoice would be, at any time. Nothing is stored."""
    measured = await service.measure(unit, body)
    return Preview(
        tenant=measured.tenant,
        period_from=measured.start,
        period_to=measured.end,
        as_of=unit.now,
        missing_events=measured.missing_events,
        **sums(measured.calculation),
    )


@router.post("", status_code=201)
async def create_invoice(body: PeriodIn, unit: Work) -> InvoiceView:
    """Create the draft of a tenant's period, or calculate it anew. There is one invoice that counts for a period."""
    return InvoiceView(**shown(await service.draft(unit, body)))


@router.get("")
async def list_invoices(unit: Work, asked: Annotated[InvoiceQuery, Query()]) -> Page[InvoiceSummary]:
    """List invoices, without lines."""
    rows, cursor = await page(unit.session, service.listing(asked), Invoice.id, asked)
    return Page(data=[InvoiceSummary.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{invoice_id}.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def download_csv(invoice_id: Wanted, unit: Work) -> Response:
    """Download an invoice's lines as CSV."""
    return Response(as_csv(await service.find(unit.session, invoice_id)), media_type="text/csv; charset=utf-8")


@router.get("/{invoice_id}.json")
async def download_json(invoice_id: Wanted, unit: Work) -> InvoiceView:
    """Download an invoice with its lines."""
    return InvoiceView(**shown(await service.find(unit.session, invoice_id)))


@router.get("/{invoice_id}")
async def show_invoice(invoice_id: Wanted, unit: Work) -> InvoiceView:
    """Show an invoice with its lines."""
    return InvoiceView(**shown(await service.find(unit.session, invoice_id)))


@router.post("/{invoice_id}/finalize")
async def finalize_invoice(invoice_id: Wanted, unit: Work, body: Finalization | None = None) -> InvoiceView:
    """Close an invoice: it gets the next number and never changes again. What has no price, or is missing, prevents it."""
    return InvoiceView(**shown(await service.finalize(unit, invoice_id, body or Finalization())))


@router.post("/{invoice_id}/void")
async def void_invoice(invoice_id: Wanted, unit: Work) -> InvoiceView:
    """Take an invoice back; its number stays used, and another can be made for the period."""
    return InvoiceView(**shown(await service.void(unit, invoice_id)))
