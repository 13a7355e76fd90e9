"""`/v1/price-books`."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from billing_api.accounts import service as accounts
from billing_api.accounts.models import Tenant
from billing_api.invoices.calculate import Part, calculate
from billing_api.invoices.views import sums
from billing_api.paging import page
from billing_api.prices import service
from billing_api.prices.models import PriceBook
from billing_api.prices.schemas import (
    PriceBookIn,
    PriceBookPatch,
    PriceBookQuery,
    PriceBookView,
    PriceIn,
    PriceView,
    QuoteIn,
    QuoteView,
)
from billing_api.unit import AskingRoute, Unit, Work, WorkRoute
from billing_api.wire import Page, Wanted
from contracts.rating import Price

router = APIRouter(prefix="/v1/price-books", tags=["prices"], route_class=WorkRoute)
asking = APIRouter(prefix="/v1/price-books", tags=["prices"], route_class=AskingRoute)


@router.post("", status_code=201)
async def create_price_book(body: PriceBookIn, unit: Work) -> PriceBookView:
    """Create a price book. Once in force it never changes; it may come into force in the past, if no invoice covers that."""
    return PriceBookView.model_validate(await service.create(unit, body))


@router.get("")
async def list_price_books(unit: Work, asked: Annotated[PriceBookQuery, Query()]) -> Page[PriceBookView]:
    """List price books with their prices."""
    rows, cursor = await page(unit.session, service.listing(asked), PriceBook.id, asked)
    return Page(data=[PriceBookView.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{book_id}")
async def show_price_book(book_id: Wanted, unit: Work) -> PriceBookView:
    """Show a price book with its prices."""
    return PriceBookView.model_validate(await service.find(unit, book_id))


@router.patch("/{book_id}")
async def change_price_book(book_id: Wanted, body: PriceBookPatch, unit: Work) -> PriceBookView:
    """Rename a price book, or set when it ends."""
    return PriceBookView.model_validate(await service.change(unit, book_id, body))


@router.get("/{book_id}/prices")
async def list_prices(book_id: Wanted, unit: Work) -> Page[PriceView]:
    """List the prices of a book, all on one page: a book has at most 2000 when it is created."""
    book = await service.find(unit, book_id)
    return Page(data=[PriceView.model_validate(price) for price in book.prices], next_cursor=None)


@router.post("/{book_id}/prices", status_code=201)
async def create_price(book_id: Wanted, body: PriceIn, unit: Work) -> PriceView:
    """Add a price to a book that is not in force yet."""
    return PriceView.model_validate(await service.add_price(unit, book_id, body))


@asking.post("/quote")
async def quote(body: QuoteIn, unit: Work) -> QuoteView:
    """Price given usage, as an invoice would."""
    currency, book_id, prices = await _chosen(unit, body)
    usage = {row.model: row.model_dump(exclude={"model"}) for row in body.usage}
    return QuoteView(price_book=book_id, **sums(calculate([Part(usage, prices)], currency)))


async def _chosen(unit: Unit, body: QuoteIn) -> tuple[str, str | None, tuple[Price, ...]]:
    """Return the currency, the book and its prices that a quote is to use."""
    if body.price_book is not None:
        given = service.book_of(await service.find(unit, body.price_book))
        return given.currency, given.id, given.prices
    assert body.tenant is not None
    tenant = await accounts.find(unit, Tenant, body.tenant)
    at = body.at or unit.now
    books = await service.catalogue(unit.session, at, at + timedelta(microseconds=1), [tenant.id])
    book = books.book(tenant.id, tenant.currency, at)
    return (tenant.currency, book.id, book.prices) if book else (tenant.currency, None, ())
