"""Tables of invoices, their lines, and the numbers given."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import JSON, BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from billing_api.db import Amount, Base, Moment


class Invoice(Base):
    """An invoice of a tenant for `[period_from, period_to)`: draft, then finalized; either may become void.

    `covers` names tenant and period, and is null once the invoice is void: so there is one that counts at most.
    `unpriced` holds [model, meter, quantity] of what no price covered.
    """

    __tablename__ = "invoices"

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[str | None] = mapped_column(unique=True)
    status: Mapped[str]
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    currency: Mapped[str]
    period_from: Mapped[datetime] = mapped_column(Moment)
    period_to: Mapped[datetime] = mapped_column(Moment)
    covers: Mapped[str | None] = mapped_column(unique=True)
    as_of: Mapped[datetime] = mapped_column(Moment)
    total: Mapped[Decimal] = mapped_column(Amount)
    unpriced: Mapped[list[tuple[str, str, int]]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(Moment)
    finalized_at: Mapped[datetime | None] = mapped_column(Moment)
    voided_at: Mapped[datetime | None] = mapped_column(Moment)
    lines: Mapped[list["InvoiceLineRow"]] = relationship(
        lazy="selectin", order_by="InvoiceLineRow.position", cascade="all, delete-orphan"
    )


class InvoiceLineRow(Base):
    """A line as it was calculated: `precise` exact, `amount` rounded."""

    __tablename__ = "invoice_lines"

    invoice: Mapped[str] = mapped_column(ForeignKey("invoices.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str]
    meter: Mapped[str]
    quantity: Mapped[int] = mapped_column(BigInteger)
    price_id: Mapped[str] = mapped_column(ForeignKey("prices.id"), index=True)
    price: Mapped[Decimal] = mapped_column(Amount)
    per: Mapped[int] = mapped_column(BigInteger)
    precise: Mapped[Decimal] = mapped_column(Amount)
    amount: Mapped[Decimal] = mapped_column(Amount)


class InvoiceNumber(Base):
    """The last number given in a year."""

    __tablename__ = "invoice_numbers"

    year: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last: Mapped[int] = mapped_column(BigInteger)
