"""Tables of tenants, teams and users. A subject that was deleted stays as a row: its usage still has to be billed."""

from datetime import datetime
from typing import Literal

from sqlalchemy import JSON, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from billing_api.db import Base, Moment
from billing_api.projection.revisions import Projected

Status = Literal["active", "suspended", "deleted"]


class Subject(Projected):
    """What tenants, teams and users share."""

    name: Mapped[str]
    status: Mapped[str]
    tags: Mapped[dict[str, str]] = mapped_column(JSON)
    plan: Mapped[str | None] = mapped_column(ForeignKey("plans.id"), index=True)
    cost_center: Mapped[str | None]
    external_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime] = mapped_column(Moment)


class Tenant(Subject, Base):
    """Who pays. Months and days are those of its time zone; all its prices and invoices are in its currency."""

    __tablename__ = "tenants"
    __table_args__ = (UniqueConstraint("external_id"),)

    time_zone: Mapped[str]
    currency: Mapped[str]
    record_prompts: Mapped[bool]


class Team(Subject, Base):
    """A part of a tenant."""

    __tablename__ = "teams"
    __table_args__ = (UniqueConstraint("tenant", "external_id"),)

    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)


class User(Subject, Base):
    """A person or a program of a tenant, perhaps in a team."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("tenant", "external_id"),)

    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    team: Mapped[str | None] = mapped_column(ForeignKey("teams.id"), index=True)
