"""`/v1/keys`."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from billing_api.keys import service
from billing_api.keys.models import Key
from billing_api.keys.schemas import KeyCreated, KeyIn, KeyPatch, KeyQuery, KeyView, Rotation, shown
from billing_api.paging import page
from billing_api.unit import Work, WorkRoute
from billing_api.wire import Page, Wanted

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=WorkRoute)


@router.post("", status_code=201)
async def create_key(body: KeyIn, unit: Work) -> KeyCreated:
    """Create a key; its secret is in this answer and nowhere else. With `secret`, import one that clients have."""
    row, secret = await service.create(unit, body)
    unit.secret_of = row.id if secret is not None else None
    return KeyCreated(**shown(row, unit.now), secret=secret)


@router.get("")
async def list_keys(unit: Work, asked: Annotated[KeyQuery, Query()]) -> Page[KeyView]:
    """List keys, without secrets."""
    rows, cursor = await page(unit.session, service.listing(asked), Key.id, asked)
    return Page(data=[KeyView(**shown(row, unit.now)) for row in rows], next_cursor=cursor)


@router.get("/{key_id}")
async def show_key(key_id: Wanted, unit: Work) -> KeyView:
    """Show a key, without its secret."""
    return KeyView(**shown(await service.find(unit, key_id), unit.now))


@router.patch("/{key_id}")
async def change_key(key_id: Wanted, body: KeyPatch, unit: Work) -> KeyView:
    """Change what a key may do and how it is labelled; in force at the proxies within a second of the answer."""
    return KeyView(**shown(await service.change(unit, key_id, body), unit.now))


@router.post("/{key_id}/rotate", status_code=201)
async def rotate_key(key_id: Wanted, unit: Work, body: Rotation | None = None) -> KeyCreated:
    """Create a key with the same rights; the old one goes on for `overlap_seconds`."""
    overlap = timedelta(seconds=body.overlap_seconds if body else 0)
    row, secret = await service.rotate(unit, key_id, overlap)
    unit.secret_of = row.id
    return KeyCreated(**shown(row, unit.now), secret=secret)


@router.post("/{key_id}/revoke")
async def revoke_key(key_id: Wanted, unit: Work) -> KeyView:
    """Refuse a key from now on, at every proxy within a second of the answer."""
    return KeyView(**shown(await service.revoke(unit, key_id), unit.now))
