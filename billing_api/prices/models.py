"""Tables of price books and their rows."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from billing_api.db import Amount, Base, Moment


class PriceBook(Base):
    """Prices in one currency, for one tenant or (`tenant` null) for all, in force in `[effective_from, effective_to)`.

    `scope` is the tenant or `*`: a column that can be unique, which null cannot.
    """

    __tablename__ = "price_books"
    __table_args__ = (UniqueConstraint("scope", "currency", "effective_from"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    currency: Mapped[str]
    tenant: Mapped[str | None] = mapped_column(ForeignKey("tenants.id"), index=True)
    scope: Mapped[str]
    effective_from: Mapped[datetime] = mapped_column(Moment)
    effective_to: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)
    prices: Mapped[list["PriceRow"]] = relationship(lazy="selectin", order_by="PriceRow.id", cascade="all")


class PriceRow(Base):
    """What `per` units of a meter of a model cost. Never changed: invoice lines name it."""

    __tablename__ = "prices"
    __table_args__ = (UniqueConstraint("book", "model", "meter"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    book: Mapped[str] = mapped_column(ForeignKey("price_books.id"), index=True)
    model: Mapped[str]
    meter: Mapped[str]
    per: Mapped[int] = mapped_column(BigInteger)
    price: Mapped[Decimal] = mapped_column(Amount)
