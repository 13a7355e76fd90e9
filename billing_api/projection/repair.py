"""Keeping the copy whole: at once after each write, and by a loop that repairs whatever went wrong.

Each second the loop compares Redis' marker with SQL's last revision. A marker behind is caught up with the rows changed
since; a marker that is missing, a Redis that was restarted, or the start of this process means that all rows are written
again, a page at a time. A Redis that is ahead of SQL (a restored backup) makes SQL number its rows anew, above what Redis
holds.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Final

import structlog
from prometheus_client import Gauge
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import select, tuple_, update
from sqlalchemy.exc import SQLAlchemyError

from billing_api.db import Database
from billing_api.projection import revisions
from billing_api.projection.copy import Copy
from billing_api.projection.records import TABLES, Entry, entries
from billing_api.projection.revisions import Projected
from contracts.clock import Clock
from contracts.projection import Marker

PAGE: Final = 500
INTERVAL_SECONDS: Final = 1.0
PUSH_SECONDS: Final = 1.0

log = structlog.get_logger()


class Projector:
    """Copies rows from SQL to Redis."""

    def __init__(self, database: Database, redis: Redis, clock: Clock, lag: Gauge) -> None:
        self.database, self.copy, self.clock, self.lag = database, Copy(redis), clock, lag
        self._whole_since: str | None = None  # the run of Redis that this process has seen whole
        self._away = False

    async def push(self, news: Sequence[Entry]) -> bool:
        """Project what was just committed; False: Redis is away, and the loop will do it."""
        try:
            async with asyncio.timeout(PUSH_SECONDS):
                await self.copy.put(news, news_after=0)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("projection_pending", error=str(error), rows=len(news))
            return False
        return True

    async def run(self) -> None:
        """Repair for ever."""
        while True:
            try:
                await self.repair()
                self._note(None)
            except (RedisError, SQLAlchemyError, OSError, TimeoutError) as error:
                self._note(error)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def repair(self) -> None:
        """Make the copy whole once."""
        run = await self.copy.run_id()
        found = await self.copy.marker()
        async with self.database.reading() as session:
            last = await revisions.current(session)
        self.lag.set(last - found[0].revision if found else last)
        if found is not None and found[0].revision > last:
            await self._renumber(found[0].revision + 1)
        elif found is None or run != self._whole_since:
            if await self._rebuild(last, found[0].revision if found else 0):
                self._whole_since = run
                self.lag.set(0)
        elif found[0].revision < last:
            await self._write_since(found[0].revision, last)
            if await self.copy.advance(Marker(revision=last, rebuilt_at=found[0].rebuilt_at), found[1]):
                self.lag.set(0)

    async def _rebuild(self, last: int, known: int) -> bool:
        token = secrets.token_hex(16)
        await self.copy.begin(token)
        count = await self._write_since(0, last, known)
        whole = await self.copy.seal(Marker(revision=last, rebuilt_at=self.clock()), token)
        log.info("projection_rebuilt", rows=count, revision=last, whole=whole)
        return whole

    async def _write_since(self, after: int, last: int, known: int | None = None) -> int:
        """Write the rows with revisions in (after, last]; a row that changes meanwhile has a higher one, for the next round."""
        count = 0
        for table in TABLES:
            async for found in _pages(self.database, table, after, last):
                await self.copy.put(found, news_after=after if known is None else known)
                count += len(found)
        return count

    async def _renumber(self, revision: int) -> None:
        log.warning("projection_ahead_of_database", revision=revision)
        async with self.database.writing() as session:
            given = await revisions.advance(session, at_least=revision)
            for table in TABLES:
                await session.execute(update(table).values(revision=given))

    def _note(self, error: Exception | None) -> None:
        if error is not None and not self._away:
            log.warning("projection_away", error=str(error))
        elif error is None and self._away:
            log.info("projection_back")
        self._away = error is not None


async def _pages(database: Database, table: type[Projected], after: int, last: int) -> AsyncIterator[Sequence[Entry]]:
    """Give what a table has of revisions in (after, last], by revision, in pages with short transactions."""
    columns = tuple_(table.revision, table.id)
    position: tuple[int, str] = (after + 1, "")
    while True:
        wanted = select(table).where(columns > position, table.revision <= last).order_by(table.revision, table.id)
        async with database.reading() as session:
            rows = list((await session.scalars(wanted.limit(PAGE))).all())
            found = await entries(session, rows)
        if not rows:
            return
        yield found
        position = (rows[-1].revision, rows[-1].id)
