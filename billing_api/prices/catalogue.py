"""Which price book applies to whom, when. Pure.

A tenant's own book goes before the general ones, as a whole: while it is in force, no price of a general book applies to
the tenant. Of several in force, the one that came into force last applies. Only books in the tenant's currency count.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from contracts.rating import Price


@dataclass(frozen=True)
class Book:
    """A price book, in force in `[start, end)`; `tenant` None: for all."""

    id: str
    currency: str
    tenant: str | None
    start: datetime
    end: datetime | None
    prices: tuple[Price, ...]

    def covers(self, moment: datetime) -> bool:
        """Say whether the book is in force."""
        return self.start <= moment and (self.end is None or moment < self.end)


@dataclass(frozen=True)
class Catalogue:
    """Books to choose from."""

    books: tuple[Book, ...]

    def book(self, tenant: str, currency: str, moment: datetime) -> Book | None:
        """Return the book that applies, None: nothing has a price."""
        mine = [
            book
            for book in self.books
            if book.currency == currency and book.tenant in {tenant, None} and book.covers(moment)
        ]
        return max(mine, key=lambda book: (book.tenant is not None, book.start, book.id), default=None)

    def cuts(self, start: datetime, end: datetime) -> list[datetime]:
        """Return the moments within `(start, end)` at which some book begins or ends, in order, after `start` itself."""
        moments = {moment for book in self.books for moment in (book.start, book.end) if moment is not None}
        return [start, *sorted(moment for moment in moments if start < moment < end)]

    def only(self, tenants: Iterable[str], currencies: Iterable[str] | None = None) -> "Catalogue":
        """Return the part of the catalogue that can apply to these tenants."""
        wanted, paid = {None, *tenants}, None if currencies is None else set(currencies)
        return Catalogue(
            tuple(book for book in self.books if book.tenant in wanted and (paid is None or book.currency in paid))
        )
