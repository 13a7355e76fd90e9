"""Making, importing, changing, rotating and revoking keys."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Select, select

from billing_api.accounts import service as accounts
from billing_api.audit.actions import record
from billing_api.db import LOCKED
from billing_api.errors import Problem, not_found
from billing_api.keys.models import Key
from billing_api.keys.schemas import KeyIn, KeyPatch, KeyQuery
from billing_api.limits import plan_service as plans
from billing_api.limits.rows import inherit
from billing_api.projection.revisions import stamp
from billing_api.unit import Unit
from contracts import endpoints, keys
from contracts.ids import new_id


async def create(unit: Unit, body: KeyIn) -> tuple[Key, str | None]:
    """Store a new or imported key; return it with its secret, None where the caller has it already."""
    await accounts.check_owners(unit, body.tenant, body.team, body.user)
    await plans.check(unit, body.plan)
    _check_endpoints(unit, body.endpoints)
    if body.expires_at is not None and body.expires_at <= unit.now:
        raise Problem(422, "expired", "expires_at lies in the past")
    key_id = new_id("key", unit.now_ms)
    secret = body.secret or keys.create(key_id, body.environment)
    row = Key(
        **body.model_dump(exclude={"secret", "environment"}),
        id=key_id,
        digest=_digest(unit, secret),
        hint=keys.hint(secret),
        imported=body.secret is not None,
        created_at=unit.now,
    )
    if await unit.session.scalar(select(Key.id).where(Key.digest == row.digest)) is not None:
        raise Problem(409, "key_exists", "this key is stored already")
    await stamp(unit.session, row)
    record(unit, "key.import" if row.imported else "key.create", row.id, _public(body))
    return row, None if row.imported else secret


async def find(unit: Unit, wanted: str, *, lock: bool = False) -> Key:
    """Return a key; raises a 404 problem."""
    row = await unit.session.get(Key, wanted, with_for_update=LOCKED if lock else None)
    if row is None:
        raise not_found("key", wanted)
    return row


def listing(asked: KeyQuery) -> Select[Key]:
    """Select keys by their owners."""
    return select(Key).filter_by(**asked.model_dump(exclude_none=True, exclude={"limit", "cursor"}))


async def change(unit: Unit, wanted: str, body: KeyPatch) -> Key:
    """Change the fields that the body names; a revoked key stays as it is."""
    row = await _live(unit, wanted)
    changes = body.model_dump(exclude_unset=True)
    await plans.check(unit, changes.get("plan"))
    _check_endpoints(unit, changes.get("endpoints"))
    for name, value in changes.items():
        setattr(row, name, value)
    await stamp(unit.session, row)
    record(unit, "key.update", row.id, body.model_dump(mode="json", exclude_unset=True))
    return row


async def rotate(unit: Unit, wanted: str, overlap: timedelta) -> tuple[Key, str]:
    """Make a key with the same rights and limits; the old one ends after `overlap`, or earlier if it would have."""
    old = await _live(unit, wanted)
    if old.expires_at is not None and old.expires_at <= unit.now:
        raise Problem(409, "key_expired", f"key {old.id} has expired; create another")
    if (newer := await unit.session.scalar(select(Key.id).where(Key.replaces == old.id))) is not None:
        raise Problem(409, "key_rotated", f"key {old.id} was replaced already; rotate {newer}", id=newer)
    key_id = new_id("key", unit.now_ms)
    secret = keys.create(key_id)
    copied = ("tenant", "team", "user", "name", "tags", "plan", "models", "endpoints", "addresses", "expires_at")
    row = Key(
        **{name: getattr(old, name) for name in copied},
        id=key_id,
        digest=_digest(unit, secret),
        hint=keys.hint(secret),
        imported=False,
        replaces=old.id,
        created_at=unit.now,
    )
    await inherit(unit, "key", old.id, row.id)
    await stamp(unit.session, row)
    if overlap:
        end = unit.now + overlap
        old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    else:
        old.revoked_at = unit.now
    await stamp(unit.session, old)
    record(unit, "key.rotate", old.id, {"to": row.id, "overlap_seconds": int(overlap.total_seconds())})
    return row, secret


async def revoke(unit: Unit, wanted: str) -> Key:
    """End a key at once and for good. Doing it again changes nothing."""
    row = await find(unit, wanted, lock=True)
    if row.revoked_at is None:
        row.revoked_at = unit.now
        await stamp(unit.session, row)
        record(unit, "key.revoke", row.id, {})
    return row


async def _live(unit: Unit, wanted: str) -> Key:
    row = await find(unit, wanted, lock=True)
    if row.revoked_at is not None:
        raise Problem(409, "key_revoked", f"key {row.id} is revoked")
    return row


def _check_endpoints(unit: Unit, wanted: Sequence[str] | None) -> None:
    """Refuse paths that no proxy answers: a key for them alone could do nothing."""
    free = unit.services.settings.free_paths
    for path in wanted or ():
        if path not in endpoints.KNOWN and path not in free:
            near = endpoints.closest(path, free)
            advice = f"; did you mean {near}?" if near else ", such as /v1/chat/completions"
            raise Problem(422, "unknown_endpoint", f"endpoints: no proxy answers {path!r}{advice}")


def _digest(unit: Unit, secret: str) -> str:
    return keys.digest(secret.encode(), unit.services.settings.key_pepper.get_secret_value().encode())


def _public(body: KeyIn) -> dict[str, object]:
    return body.model_dump(mode="json", exclude={"secret"})
