"""`/v1/audit`."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select

from billing_api.audit.models import Action
from billing_api.audit.requests import search
from billing_api.audit.schemas import ActionQuery, ActionView, RequestQuery
from billing_api.paging import page
from billing_api.unit import Work, WorkRoute
from billing_api.usage.schemas import EventPage
from billing_api.usage.windows import bounded
from billing_api.wire import Page

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=WorkRoute)


@router.get("/requests")
async def search_requests(unit: Work, asked: Annotated[RequestQuery, Query()]) -> EventPage:
    """Search what was asked of the fleet, also what was denied, newest first.

    `status` of an admitted request is that of its answer, once it has ended.
    """
    window = bounded(asked.start, asked.end, unit.now)
    rows, cursor = await search(unit.services.ledger, window, asked)
    return EventPage(data=rows, next_cursor=cursor)


@router.get("/actions")
async def list_actions(unit: Work, asked: Annotated[ActionQuery, Query()]) -> Page[ActionView]:
    """List what admins did, newest first."""
    rows = select(Action).filter_by(**asked.model_dump(include={"actor", "action", "target"}, exclude_none=True))
    if asked.start is not None:
        rows = rows.where(Action.at >= asked.start)
    if asked.end is not None:
        rows = rows.where(Action.at < asked.end)
    found, cursor = await page(unit.session, rows, Action.id, asked, newest_first=True)
    return Page(data=[ActionView.model_validate(row) for row in found], next_cursor=cursor)
