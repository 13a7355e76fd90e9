"""`/v1/plans`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from billing_api.limits import plan_service as service
from billing_api.limits.models import Plan
from billing_api.limits.plan_schemas import PlanIn, PlanPatch, PlanQuery, PlanView
from billing_api.paging import page
from billing_api.unit import Unit, Work, WorkRoute
from billing_api.wire import Page, Wanted

router = APIRouter(prefix="/v1/plans", tags=["limits"], route_class=WorkRoute)


@router.post("", status_code=201)
async def create_plan(body: PlanIn, unit: Work) -> PlanView:
    """Create a plan: what tenants, teams, users and keys that have it share. Each has its own count of its limits."""
    return await _view(unit, await service.create(unit, body))


@router.get("")
async def list_plans(unit: Work, asked: Annotated[PlanQuery, Query()]) -> Page[PlanView]:
    """List plans; deleted ones only with `status=deleted`."""
    rows, cursor = await page(unit.session, service.listing(asked), Plan.id, asked)
    return Page(data=await service.views(unit.session, rows), next_cursor=cursor)


@router.get("/{plan_id}")
async def show_plan(plan_id: Wanted, unit: Work) -> PlanView:
    """Show a plan with its limits."""
    return await _view(unit, await service.find(unit, plan_id))


@router.patch("/{plan_id}")
async def change_plan(plan_id: Wanted, body: PlanPatch, unit: Work) -> PlanView:
    """Change a plan for all that have it; in force at the proxies within a second of the answer."""
    return await _view(unit, await service.change(unit, plan_id, body))


@router.delete("/{plan_id}", status_code=204)
async def delete_plan(plan_id: Wanted, unit: Work) -> Response:
    """End a plan that no tenant, team, user or key has any more."""
    await service.remove(unit, plan_id)
    return Response(status_code=204)


async def _view(unit: Unit, row: Plan) -> PlanView:
    await unit.session.flush()
    return (await service.views(unit.session, [row]))[0]
