"""Creating, finding, changing and ending limits of tenants, teams, users and keys."""

from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_api.accounts.models import Subject, Team, Tenant, User
from billing_api.audit.actions import record
from billing_api.db import LOCKED
from billing_api.errors import Problem, not_found
from billing_api.keys.models import Key
from billing_api.limits.models import Limit
from billing_api.limits.rows import new_row
from billing_api.limits.schemas import LimitIn, LimitPatch, LimitQuery
from billing_api.projection.revisions import stamp
from billing_api.unit import Unit
from contracts.limit_rules import MOST_OF_ONE, flaw
from contracts.limits import LEVELS, SubjectKind

JUDGED: Final = ("model", "meter", "window", "amount", "precision", "notify_at", "when_reached", "degrade_to")
Holder = Tenant | Team | User | Key
_TABLES: Final[dict[str, Any]] = {"tenant": Tenant, "team": Team, "user": User, "key": Key}


async def create(unit: Unit, body: LimitIn) -> Limit:
    """Store a limit; its subject must exist and still be in use, and have no limit of the same place."""
    kind, wanted = _narrowest(body)
    holder = await _holder(unit, kind, wanted)
    tenant = holder.id if isinstance(holder, Tenant) else holder.tenant
    if body.subject.tenant not in {None, tenant}:
        raise Problem(422, "wrong_tenant", f"{kind} {wanted} belongs to another tenant")
    row = new_row(unit, kind, wanted, tenant, body)
    twin = select(Limit.id).filter_by(holder=wanted, place=row.place)
    if (found := await unit.session.scalar(twin)) is not None:
        raise Problem(409, "limit_exists", f"{found} limits this already; change that one", id=found)
    await _refuse_too_many(unit.session, wanted)
    unit.session.add(row)
    await stamp(unit.session, holder)
    record(unit, "limit.create", row.id, body.model_dump(mode="json"))
    return row


async def find(unit: Unit, wanted: str) -> Limit:
    """Return a limit; raises a 404 problem."""
    row = await unit.session.get(Limit, wanted)
    if row is None:
        raise not_found("limit", wanted)
    return row


def listing(asked: LimitQuery) -> Select[Limit]:
    """Select limits; those of plans only where one is asked for."""
    wanted = asked.model_dump(exclude_none=True, include={"tenant", "model", "meter", "window"})
    rows = select(Limit).filter_by(**wanted)
    for kind in ("team", "user", "key", "plan"):
        if (holder := getattr(asked, kind)) is not None:
            rows = rows.where(Limit.kind == kind, Limit.holder == holder)
    return rows if asked.plan is not None else rows.where(Limit.kind != "plan")


async def change(unit: Unit, wanted: str, body: LimitPatch) -> Limit:
    """Change the fields that the body names; what is used so far stays used."""
    row, holder = await _own(unit, wanted)
    changes = body.model_dump(exclude_unset=True)
    terms = {name: changes.get(name, getattr(row, name)) for name in JUDGED}
    if (wrong := flaw(**terms)) is not None:
        raise Problem(422, "invalid_request", ": ".join(wrong))
    for name, value in changes.items():
        setattr(row, name, value)
    row.updated_at = unit.now
    await stamp(unit.session, holder)
    record(unit, "limit.update", row.id, body.model_dump(mode="json", exclude_unset=True))
    return row


async def remove(unit: Unit, wanted: str) -> None:
    """End a limit: nobody is held to it any more."""
    row, holder = await _own(unit, wanted)
    await unit.session.delete(row)
    await stamp(unit.session, holder)
    record(unit, "limit.delete", row.id, {row.kind: row.holder, "place": row.place})


def _narrowest(body: LimitIn) -> tuple[SubjectKind, str]:
    """Return whom a limit holds: the narrowest part of its subject."""
    named = [(kind, wanted) for kind in LEVELS if (wanted := getattr(body.subject, kind)) is not None]
    return named[-1]


async def _own(unit: Unit, wanted: str) -> tuple[Limit, Holder]:
    """Return a limit of a subject, and the subject, locked; a plan's limits are changed with the plan."""
    row = await find(unit, wanted)
    if row.kind == "plan":
        raise Problem(
            409, "limit_of_plan", f"{row.id} belongs to {row.holder}: change that plan's limits", id=row.holder
        )
    holder: Holder | None = await unit.session.get(_TABLES[row.kind], row.holder, with_for_update=LOCKED)
    found = await unit.session.get(Limit, wanted, populate_existing=True)  # as it is under the lock
    if holder is None or found is None:
        raise not_found("limit", wanted)
    return found, holder


async def _holder(unit: Unit, kind: SubjectKind, wanted: str) -> Holder:
    """Return the row of a subject, locked; refuse one that does not exist or has ended."""
    row: Holder | None = await unit.session.get(_TABLES[kind], wanted, with_for_update=LOCKED)
    if row is None:
        raise Problem(422, f"unknown_{kind}", f"there is no {kind} {wanted!r}")
    if isinstance(row, Key) and row.revoked_at is not None:
        raise Problem(409, "key_revoked", f"key {row.id} is revoked")
    if isinstance(row, Subject) and row.status == "deleted":
        raise Problem(409, f"{kind}_deleted", f"{kind} {row.id} is deleted")
    return row


async def _refuse_too_many(session: AsyncSession, holder: str) -> None:
    there = await session.scalar(select(func.count()).select_from(Limit).filter_by(holder=holder))
    if (there or 0) >= MOST_OF_ONE:
        raise Problem(422, "too_many_limits", f"{holder} has {there} limits; it may have {MOST_OF_ONE}")
