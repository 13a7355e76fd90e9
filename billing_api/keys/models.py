"""The table of API keys."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from billing_api.db import Base, Moment
from billing_api.projection.revisions import Projected


class Key(Projected, Base):
    """A key. `digest` finds it; `hint` is its end, for people. `replaces` is the key that it was rotated from."""

    __tablename__ = "keys"

    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), index=True)
    team: Mapped[str | None] = mapped_column(ForeignKey("teams.id"), index=True)
    user: Mapped[str | None] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    hint: Mapped[str]
    imported: Mapped[bool]
    replaces: Mapped[str | None] = mapped_column(ForeignKey("keys.id"), index=True)
    tags: Mapped[dict[str, str]] = mapped_column(JSON)
    plan: Mapped[str | None] = mapped_column(ForeignKey("plans.id"), index=True)
    models: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    endpoints: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    addresses: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime | None] = mapped_column(Moment)
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)
