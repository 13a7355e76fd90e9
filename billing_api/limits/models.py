"""Tables of plans and of limits. A plan that was deleted stays as a row, so that no older copy in Redis outlives it."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from billing_api.db import Amount, Base, Moment
from billing_api.projection.revisions import Projected

_LIVE = text("status = 'active'")


class Plan(Projected, Base):
    """What many subjects share. The names of plans that are not deleted are unique."""

    __tablename__ = "plans"
    __table_args__ = (Index("uq_plans_name", "name", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),)

    name: Mapped[str]
    status: Mapped[str]
    models: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    priority: Mapped[str]
    weight: Mapped[int]
    max_tokens: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime] = mapped_column(Moment)


class Limit(Base):
    """A limit of `holder`: the id of a tenant, team, user, key or plan, as `kind` says. `tenant` null: the holder is a plan.

    `place` is model, meter and window in one: a holder has one limit for each.
    """

    __tablename__ = "limits"
    __table_args__ = (UniqueConstraint("holder", "place"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    holder: Mapped[str]
    tenant: Mapped[str | None] = mapped_column(ForeignKey("tenants.id"), index=True)
    place: Mapped[str]
    model: Mapped[str | None]
    meter: Mapped[str]
    window: Mapped[str | None]
    amount: Mapped[Decimal] = mapped_column(Amount)
    precision: Mapped[str]
    mode: Mapped[str]
    on_outage: Mapped[str]
    notify_at: Mapped[list[int]] = mapped_column(JSON)
    when_reached: Mapped[str]
    degrade_to: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime] = mapped_column(Moment)


def place(model: str | None, meter: str, window: str | None) -> str:
    """Return model, meter and window as one text; the model last, since it may hold any character."""
    return f"{meter}/{window or 'now'}/{'*' if model is None else '=' + model}"
