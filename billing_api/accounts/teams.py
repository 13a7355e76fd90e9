"""`/v1/teams`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from billing_api.accounts import service
from billing_api.accounts.models import Team
from billing_api.accounts.schemas import MemberQuery, SubjectPatch, TeamIn, TeamView
from billing_api.paging import page
from billing_api.unit import Work, WorkRoute
from billing_api.wire import Page, Wanted

router = APIRouter(prefix="/v1/teams", tags=["accounts"], route_class=WorkRoute)


@router.post("", status_code=201)
async def create_team(body: TeamIn, unit: Work) -> TeamView:
    """Create a team."""
    return TeamView.model_validate(await service.create(unit, Team, body))


@router.get("")
async def list_teams(unit: Work, asked: Annotated[MemberQuery, Query()]) -> Page[TeamView]:
    """List teams; deleted ones only with `status=deleted`."""
    rows, cursor = await page(unit.session, service.listing(Team, asked), Team.id, asked)
    return Page(data=[TeamView.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{team_id}")
async def show_team(team_id: Wanted, unit: Work) -> TeamView:
    """Show a team."""
    return TeamView.model_validate(await service.find(unit, Team, team_id))


@router.patch("/{team_id}")
async def change_team(team_id: Wanted, body: SubjectPatch, unit: Work) -> TeamView:
    """Change a team. `status: suspended` is in force at the proxies within a second of the answer."""
    return TeamView.model_validate(await service.change(unit, Team, team_id, body))


@router.delete("/{team_id}", status_code=204)
async def delete_team(team_id: Wanted, unit: Work) -> Response:
    """End a team for good; its usage stays."""
    await service.remove(unit, Team, team_id)
    return Response(status_code=204)
