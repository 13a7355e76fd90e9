"""Lists, a page at a time, in the order of a unique column. A cursor stays right while rows are added."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from pydantic import Field
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from billing_api.db import Base
from billing_api.errors import Problem
from billing_api.wire import Body

Number = Annotated[int, Meta(ge=-(2**62), le=2**62)]


class Listing(Body):
    """The query of a list; a list's own filters are further fields. A misspelt filter is refused, not ignored."""

    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = Field(default=None, max_length=4096)

    @property
    def after(self) -> tuple[str | int | None, ...] | None:
        """The sort values of the last row seen; raises a 422 problem."""
        return None if self.cursor is None else decode(self.cursor)


R = TypeVar("R", bound=Base)


def encode(values: Sequence[Any]) -> str:
    """Write the sort values of a row as a cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def decode(cursor: str) -> tuple[str | int | None, ...]:
    """Read a cursor; raises a 422 problem when it is none of ours."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=tuple[str | Number | None, ...])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise invalid_cursor() from None


def invalid_cursor() -> Problem:
    """Return the problem of a cursor that this list did not give."""
    return Problem(422, "invalid_cursor", "the cursor is none that this list gave; leave it out to start again")


async def page(
    session: AsyncSession,
    rows: Select[R],
    column: InstrumentedAttribute[str],
    asked: Listing,
    *,
    newest_first: bool = False,
) -> tuple[list[R], str | None]:
    """Return the rows of a page and the cursor of the next, ordered by `column`, which is unique and sorts by time."""
    if (after := asked.after) is not None:
        if len(after) != 1 or not isinstance(after[0], str):
            raise invalid_cursor()
        rows = rows.where(column < after[0] if newest_first else column > after[0])
    order = column.desc() if newest_first else column.asc()
    found = list((await session.scalars(rows.order_by(order).limit(asked.limit + 1))).all())
    if len(found) <= asked.limit:
        return found, None
    return found[: asked.limit], encode([getattr(found[asked.limit - 1], column.key)])
