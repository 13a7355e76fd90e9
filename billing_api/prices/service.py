"""Creating, ending and choosing price books."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_api.accounts.models import Tenant
from billing_api.audit.actions import record
from billing_api.errors import Problem, not_found
from billing_api.invoices.models import Invoice
from billing_api.prices.catalogue import Book, Catalogue
from billing_api.prices.models import PriceBook, PriceRow
from billing_api.prices.schemas import PriceBookIn, PriceBookPatch, PriceBookQuery, PriceIn
from billing_api.unit import Unit
from contracts.ids import new_id
from contracts.rating import Price


async def create(unit: Unit, body: PriceBookIn) -> PriceBook:
    """Store a book with its prices."""
    await _check_tenant(unit, body)
    await _refuse_invoiced(unit, body)
    scope = body.tenant or "*"
    twin = select(PriceBook.id).filter_by(scope=scope, currency=body.currency, effective_from=body.effective_from)
    if (found := await unit.session.scalar(twin)) is not None:
        raise Problem(409, "price_book_exists", f"{found} comes into force at the same time", id=found)
    book = PriceBook(
        **body.model_dump(exclude={"prices"}),
        id=new_id("pb", unit.now_ms),
        scope=scope,
        created_at=unit.now,
        prices=[_row(unit, price) for price in body.prices],
    )
    unit.session.add(book)
    record(unit, "price_book.create", book.id, body.model_dump(mode="json"))
    return book


async def find(unit: Unit, wanted: str, *, lock: bool = False) -> PriceBook:
    """Return a book with its prices; raises a 404 problem."""
    book = await unit.session.get(PriceBook, wanted, with_for_update=lock)
    if book is None:
        raise not_found("price book", wanted)
    return book


def listing(asked: PriceBookQuery) -> Select[PriceBook]:
    """Select books."""
    return select(PriceBook).filter_by(**asked.model_dump(exclude_none=True, exclude={"limit", "cursor"}))


async def change(unit: Unit, wanted: str, body: PriceBookPatch) -> PriceBook:
    """Rename a book or move its end; what was in force in the past stays as it was."""
    book = await find(unit, wanted, lock=True)
    changes = body.model_dump(exclude_unset=True)
    if "effective_to" in changes:
        end: datetime | None = changes["effective_to"]
        if book.effective_to is not None and book.effective_to <= unit.now:
            raise Problem(409, "price_book_ended", f"{book.id} has ended; create another")
        if end is not None and (end < unit.now or end < book.effective_from):
            raise Problem(422, "invalid_effective_to", "effective_to lies in the past, or before effective_from")
    for name, value in changes.items():
        setattr(book, name, value)
    record(unit, "price_book.update", book.id, body.model_dump(mode="json", exclude_unset=True))
    return book


async def add_price(unit: Unit, wanted: str, body: PriceIn) -> PriceRow:
    """Add a price to a book that is not in force yet."""
    book = await find(unit, wanted, lock=True)
    if book.effective_from <= unit.now:
        raise Problem(409, "price_book_effective", f"{book.id} is in force and immutable; create another")
    if any((price.model, price.meter) == (body.model, body.meter) for price in book.prices):
        raise Problem(409, "price_exists", f"{book.id} has a price for {body.meter} of {body.model} already")
    row = _row(unit, body)
    book.prices.append(row)
    record(unit, "price.create", row.id, {"price_book": book.id, **body.model_dump(mode="json")})
    return row


async def catalogue(
    session: AsyncSession, start: datetime, end: datetime, tenants: Iterable[str] | None = None
) -> Catalogue:
    """Return the books that are in force at some time in `[start, end)`; with `tenants`, those that may apply to them."""
    books = select(PriceBook).where(
        PriceBook.effective_from < end, or_(PriceBook.effective_to.is_(None), PriceBook.effective_to > start)
    )
    if tenants is not None:
        books = books.where(PriceBook.scope.in_(["*", *tenants]))
    return Catalogue(tuple(book_of(row) for row in (await session.scalars(books.order_by(PriceBook.id))).all()))


def book_of(row: PriceBook) -> Book:
    """Return a row as the value that the pure parts work with."""
    prices = tuple(Price(price.id, price.model, price.meter, price.per, price.price) for price in row.prices)
    return Book(row.id, row.currency, row.tenant, row.effective_from, row.effective_to, prices)


def _row(unit: Unit, price: PriceIn) -> PriceRow:
    return PriceRow(id=new_id("price", unit.now_ms), **price.model_dump(exclude={"pricing"}))


async def _check_tenant(unit: Unit, body: PriceBookIn) -> None:
    if body.tenant is None:
        return
    tenant = await unit.session.get(Tenant, body.tenant)
    if tenant is None:
        raise Problem(422, "unknown_tenant", f"there is no tenant {body.tenant!r}")
    if tenant.currency != body.currency:
        raise Problem(422, "wrong_currency", f"{tenant.id} pays in {tenant.currency}, not in {body.currency}")


async def _refuse_invoiced(unit: Unit, body: PriceBookIn) -> None:
    """Refuse a book that would give a time that has been invoiced other prices than the invoice has."""
    billed = select(Invoice.id).where(
        Invoice.status == "finalized", Invoice.currency == body.currency, Invoice.period_to > body.effective_from
    )
    if body.tenant is not None:
        billed = billed.where(Invoice.tenant == body.tenant)
    if body.effective_to is not None:
        billed = billed.where(Invoice.period_from < body.effective_to)
    if (found := await unit.session.scalar(billed.limit(1))) is not None:
        detail = f"{found} is final and covers a time after effective_from; choose a later effective_from"
        raise Problem(409, "period_invoiced", detail, id=found)
