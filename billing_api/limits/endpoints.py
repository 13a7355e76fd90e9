"""`/v1/limits`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from billing_api.accounts.models import Tenant
from billing_api.errors import Problem
from billing_api.limits import service, state
from billing_api.limits.models import Limit
from billing_api.limits.schemas import LimitIn, LimitPatch, LimitQuery, LimitView, shown
from billing_api.limits.state import LimitState
from billing_api.paging import page
from billing_api.unit import Work, WorkRoute
from billing_api.wire import Page, Wanted

router = APIRouter(prefix="/v1/limits", tags=["limits"], route_class=WorkRoute)


@router.post("", status_code=201)
async def create_limit(body: LimitIn, unit: Work) -> LimitView:
    """Limit a tenant, team, user or key; in force at the proxies within a second of the answer.

    It replaces the limit of its plan with the same model, meter and window.
    """
    return shown(await service.create(unit, body))


@router.get("")
async def list_limits(unit: Work, asked: Annotated[LimitQuery, Query()]) -> Page[LimitView]:
    """List limits of subjects; those of a plan with `plan`."""
    rows, cursor = await page(unit.session, service.listing(asked), Limit.id, asked)
    return Page(data=[shown(row) for row in rows], next_cursor=cursor)


@router.get("/{limit_id}")
async def show_limit(limit_id: Wanted, unit: Work) -> LimitView:
    """Show a limit."""
    return shown(await service.find(unit, limit_id))


@router.get("/{limit_id}/state")
async def show_limit_state(limit_id: Wanted, unit: Work) -> LimitState:
    """Show what is used and left of a limit now, as all proxies together count it."""
    row = await service.find(unit, limit_id)
    if row.tenant is None:
        raise Problem(
            409, "limit_of_plan", f"{row.id} is a limit of a plan: each subject of the plan has a count of its own"
        )
    tenant = await unit.session.get(Tenant, row.tenant)
    assert tenant is not None, "a limit's tenant is a foreign key"
    return await state.read(unit.services.projector.copy.redis, row, tenant.time_zone, unit.now)


@router.patch("/{limit_id}")
async def change_limit(limit_id: Wanted, body: LimitPatch, unit: Work) -> LimitView:
    """Change a limit; in force at the proxies within a second of the answer. What is used so far stays used."""
    return shown(await service.change(unit, limit_id, body))


@router.delete("/{limit_id}", status_code=204)
async def delete_limit(limit_id: Wanted, unit: Work) -> Response:
    """End a limit; its subject is held to its plan's again, if that has one for the same model, meter and window."""
    await service.remove(unit, limit_id)
    return Response(status_code=204)
