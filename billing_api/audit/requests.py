# ruff: noqa: S608  # built from names of ours; whatever comes from outside is a parameter
"""Searching requests. An admitted one is decided before it is answered: how it was answered stands in its usage event."""

from datetime import datetime
from typing import Any, Final

from billing_api.audit.schemas import RequestQuery
from billing_api.usage.events import newest
from billing_api.usage.ledger import Ledger
from billing_api.usage.query import micros
from contracts import tables

Rows = list[dict[str, Any]]
_WINDOW: Final = """event_time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC')
    AND event_time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')"""
_ANSWERED: Final = f"""(status IN {{statuses:Array(Int64)}} OR request_id IN (
    SELECT request_id FROM {tables.USAGE} WHERE {_WINDOW} AND status IN {{statuses:Array(Int64)}}))"""


async def search(ledger: Ledger, window: tuple[datetime, datetime], asked: RequestQuery) -> tuple[Rows, str | None]:
    """Return a page of requests in `[from, to)`, newest first, and the cursor of the next."""
    further = (_ANSWERED, {"statuses": asked.status}) if asked.status else None
    rows, cursor = await newest(ledger, tables.REQUESTS, window, asked.filters, asked, further)
    open_ = [row["request_id"] for row in rows if row["status"] is None]
    if open_:
        statuses = await _statuses(ledger, window, open_)
        rows = [row | {"status": row["status"] or statuses.get(row["request_id"])} for row in rows]
    return rows, cursor


async def _statuses(ledger: Ledger, window: tuple[datetime, datetime], requests: list[str]) -> dict[str, int]:
    """Return how requests were answered; what has not ended yet is left out. Both events of a request have its time."""
    found = await ledger.rows(
        f"SELECT request_id, status FROM {tables.USAGE} WHERE {_WINDOW} AND request_id IN {{requests:Array(String)}}",
        {"start": micros(window[0]), "end": micros(window[1]), "requests": requests},
    )
    return {row["request_id"]: row["status"] for row in found if row["status"] is not None}
