"""`/v1/users`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from billing_api.accounts import service
from billing_api.accounts.models import User
from billing_api.accounts.schemas import MemberQuery, UserIn, UserPatch, UserView
from billing_api.paging import page
from billing_api.unit import Work, WorkRoute
from billing_api.wire import Page, Wanted

router = APIRouter(prefix="/v1/users", tags=["accounts"], route_class=WorkRoute)


@router.post("", status_code=201)
async def create_user(body: UserIn, unit: Work) -> UserView:
    """Create a user."""
    return UserView.model_validate(await service.create(unit, User, body))


@router.get("")
async def list_users(unit: Work, asked: Annotated[MemberQuery, Query()]) -> Page[UserView]:
    """List users; deleted ones only with `status=deleted`."""
    rows, cursor = await page(unit.session, service.listing(User, asked), User.id, asked)
    return Page(data=[UserView.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{user_id}")
async def show_user(user_id: Wanted, unit: Work) -> UserView:
    """Show a user."""
    return UserView.model_validate(await service.find(unit, User, user_id))


@router.patch("/{user_id}")
async def change_user(user_id: Wanted, body: UserPatch, unit: Work) -> UserView:
    """Change a user. `status: suspended` is in force at the proxies within a second of the answer."""
    return UserView.model_validate(await service.change(unit, User, user_id, body))


@router.delete("/{user_id}", status_code=204)
async def delete_user(user_id: Wanted, unit: Work) -> Response:
    """End a user for good; its usage stays."""
    await service.remove(unit, User, user_id)
    return Response(status_code=204)
