"""`/v1/usage`."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from billing_api.errors import not_found
from billing_api.unit import Work, WorkRoute
from billing_api.usage import service
from billing_api.usage.events import COLUMNS, newest, plain
from billing_api.usage.schemas import EventPage, EventQuery, UsagePage, UsageQuery
from billing_api.usage.windows import bounded
from billing_api.wire import Wanted
from contracts import tables

router = APIRouter(prefix="/v1/usage", tags=["usage"], route_class=WorkRoute)
ONE = f"SELECT {', '.join(f'`{column}`' for column in COLUMNS[tables.USAGE])} FROM {tables.USAGE}"  # noqa: S608


@router.get("")
async def get_usage(unit: Work, asked: Annotated[UsageQuery, Query()]) -> UsagePage:
    """Add up usage by time and group, with what it costs."""
    return await service.usage(unit, asked)


@router.get("/events")
async def list_usage_events(unit: Work, asked: Annotated[EventQuery, Query()]) -> EventPage:
    """List the events behind a figure, newest first."""
    window = bounded(asked.start, asked.end, unit.now)
    found = await newest(unit.services.ledger, tables.USAGE, window, asked.filters, asked)
    return EventPage(data=found[0], next_cursor=found[1])


@router.get("/events/{request_id}")
async def show_usage_event(request_id: Wanted, unit: Work) -> dict[str, Any]:
    """Show the usage event of a request."""
    query = f"{ONE} WHERE request_id = {{wanted:String}} ORDER BY event_time LIMIT 1"
    rows = await unit.services.ledger.rows(query, {"wanted": request_id})
    if not rows:
        raise not_found("usage event of the request", request_id)
    return plain(rows[0])
