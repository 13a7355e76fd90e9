"""Revisions: every row that Redis copies carries the number of its last change.

Numbers are given under a row lock that is held until the commit, so that they appear in the order of the commits: whoever has
seen revision 7 has seen everything up to 7.
"""

from sqlalchemy import BigInteger, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from billing_api.db import Base

_TOUCHED = "touched"


class Revision(Base):
    """One row (id 1): the last revision given."""

    __tablename__ = "revision"

    id: Mapped[int] = mapped_column(primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger)


class Projected:
    """A row that Redis copies."""

    id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, index=True)


async def stamp(session: AsyncSession, row: Projected) -> None:
    """Store a new or changed row under the next revision, and have it projected after the commit."""
    row.revision = await advance(session)
    session.add(row)
    touched(session).append(row)


async def advance(session: AsyncSession, at_least: int = 0) -> int:
    """Give the next revision, which is `at_least` as given and above all before."""
    last = await session.scalar(select(Revision.last).where(Revision.id == 1).with_for_update())
    assert last is not None, "the migrations put the row there"
    revision = max(last + 1, at_least)
    await session.execute(update(Revision).where(Revision.id == 1).values(last=revision))
    return revision


async def current(session: AsyncSession) -> int:
    """Return the last revision given by a committed transaction."""
    last = await session.scalar(select(Revision.last).where(Revision.id == 1))
    assert last is not None, "the migrations put the row there"
    return last


def touched(session: AsyncSession) -> list[Projected]:
    """Return the rows that the session changed and Redis must hear of."""
    rows = session.info.setdefault(_TOUCHED, [])
    assert isinstance(rows, list)
    return rows
