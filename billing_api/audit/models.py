"""The table of what admins did."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from billing_api.db import Base, Moment


class Action(Base):
    """One act: written in the transaction of what it tells of, never changed."""

    __tablename__ = "actions"

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment, index=True)
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(index=True)
    target: Mapped[str] = mapped_column(index=True)
    request_id: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
