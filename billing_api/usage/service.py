"""Answering questions about usage."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_api.accounts.models import Tenant
from billing_api.paging import encode, invalid_cursor
from billing_api.prices.service import catalogue
from billing_api.unit import Unit
from billing_api.usage import figures as rated
from billing_api.usage.ledger import Ledger
from billing_api.usage.query import Question, figures, from_micros, position
from billing_api.usage.schemas import UsagePage, UsageQuery, UsageRow
from billing_api.usage.windows import bounded, bounds
from contracts import tables

MISSING: str = f"SELECT sum(missing) AS missing FROM {tables.PRODUCERS}"  # noqa: S608  # a name of ours


async def usage(unit: Unit, asked: UsageQuery) -> UsagePage:
    """Return a page of sums with their cost."""
    start, end = bounded(asked.start, asked.end, unit.now)
    zone = asked.time_zone or await _zone_of(unit.session, asked.tenant)
    starts = bounds(start, end, asked.bucket, zone)
    books = await catalogue(unit.session, start, end, asked.tenant or None)
    cuts = books.cuts(start, end)
    question = Question(starts, end, cuts, asked.group_by, asked.filters)
    query = figures(question, asked.limit, _after(asked))
    rows = await unit.services.ledger.rows(query.text, query.parameters)
    currencies = await _currencies(unit.session, {row["tenant"] for row in rows})
    found = rated.totals(rows, len(asked.group_by), rated.Pricing(books, currencies))
    ends = dict(zip(starts, [*starts[1:], end], strict=True))
    shown = found[: asked.limit]
    last = shown[-1] if len(found) > asked.limit else None
    return UsagePage(
        data=[_row(total, asked.group_by, ends) for total in shown],
        next_cursor=last and encode(position(last.bucket, last.values)),
        as_of=unit.now,
        complete_until=None,
        missing_events=await missing_events(unit.services.ledger),
    )


def _after(asked: UsageQuery) -> tuple[str | int | None, ...] | None:
    after = asked.after
    shape = [int, *(kind for _ in asked.group_by for kind in (int, str))]
    if after is not None and [type(value) for value in after] != shape:
        raise invalid_cursor()
    return after


async def missing_events(ledger: Ledger) -> int:
    """Return how many events the ledger knows to lack."""
    rows = await ledger.rows(MISSING, {})
    return int(rows[0]["missing"] or 0) if rows else 0


async def _zone_of(session: AsyncSession, tenants: list[str]) -> str:
    if len(tenants) != 1:
        return "UTC"
    return await session.scalar(select(Tenant.time_zone).where(Tenant.id == tenants[0])) or "UTC"


async def _currencies(session: AsyncSession, tenants: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    wanted = sorted(tenants)
    for first in range(0, len(wanted), 500):
        part = select(Tenant.id, Tenant.currency).where(Tenant.id.in_(wanted[first : first + 500]))
        found.update((tenant, currency) for tenant, currency in (await session.execute(part)).all())
    return found


def _row(total: rated.Total, groups: list[str], ends: dict[datetime, datetime]) -> UsageRow:
    start = from_micros(total.bucket)
    figures_of: dict[str, Any] = dict(total.sums)
    return UsageRow(
        bucket_start=start,
        bucket_end=ends[start],
        group=dict(zip(groups, total.values, strict=True)),
        **figures_of,
        billed_cost=total.cost,
        currency=total.currency,
    )
