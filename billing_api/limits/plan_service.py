"""Creating, finding, changing and ending plans."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_api.accounts.models import Team, Tenant, User
from billing_api.audit.actions import record
from billing_api.db import LOCKED
from billing_api.errors import Problem, not_found
from billing_api.keys.models import Key
from billing_api.limits.models import Limit, Plan, place
from billing_api.limits.plan_schemas import PlanIn, PlanPatch, PlanQuery, PlanView
from billing_api.limits.rows import held, new_row
from billing_api.limits.schemas import PlanLimit, PlanLimitView, Terms
from billing_api.projection.revisions import stamp
from billing_api.unit import Unit
from contracts.ids import new_id

_IN_USE: Final = select(Tenant.id).where(Tenant.status != "deleted")
_HOLDERS: Final = (
    (Tenant.plan, Tenant.status != "deleted"),
    (Team.plan, and_(Team.status != "deleted", Team.tenant.in_(_IN_USE))),
    (User.plan, and_(User.status != "deleted", User.tenant.in_(_IN_USE))),
    (Key.plan, and_(Key.revoked_at.is_(None), Key.tenant.in_(_IN_USE))),
)
"""Where a plan is named, and whether that still counts."""


async def create(unit: Unit, body: PlanIn) -> Plan:
    """Store a plan with its limits."""
    await _refuse_twin(unit.session, body.name)
    fields = body.model_dump(exclude={"limits"})
    row = Plan(**fields, id=new_id("plan", unit.now_ms), status="active", created_at=unit.now, updated_at=unit.now)
    await _set_limits(unit, row, body.limits)
    await stamp(unit.session, row)
    record(unit, "plan.create", row.id, body.model_dump(mode="json"))
    return row


async def find(unit: Unit, wanted: str, *, lock: bool = False) -> Plan:
    """Return a plan; raises a 404 problem."""
    row = await unit.session.get(Plan, wanted, with_for_update=LOCKED if lock else None)
    if row is None:
        raise not_found("plan", wanted)
    return row


async def check(unit: Unit, wanted: str | None) -> None:
    """Refuse a plan that does not exist or is deleted, and keep it from being deleted until the commit."""
    if wanted is None:
        return
    row = await unit.session.get(Plan, wanted, with_for_update={"read": True})
    if row is None:
        raise Problem(422, "unknown_plan", f"there is no plan {wanted!r}")
    _refuse_deleted(row)


def listing(asked: PlanQuery) -> Select[Plan]:
    """Select plans; those deleted only when asked for."""
    rows = select(Plan).where(Plan.status == (asked.status or "active"))
    return rows if asked.name is None else rows.where(Plan.name == asked.name)


async def change(unit: Unit, wanted: str, body: PlanPatch) -> Plan:
    """Change the fields that the body names; limits are replaced as a whole."""
    row = await find(unit, wanted, lock=True)
    _refuse_deleted(row)
    changes = body.model_dump(exclude_unset=True, exclude={"limits"})
    if "name" in changes and changes["name"] != row.name:
        await _refuse_twin(unit.session, body.name)
    for name, value in changes.items():
        setattr(row, name, value)
    if "limits" in body.model_fields_set:
        await _set_limits(unit, row, body.limits)
    row.updated_at = unit.now
    await stamp(unit.session, row)
    record(unit, "plan.update", row.id, body.model_dump(mode="json", exclude_unset=True))
    return row


async def remove(unit: Unit, wanted: str) -> None:
    """End a plan that nobody has any more. Doing it again changes nothing."""
    row = await find(unit, wanted, lock=True)
    if row.status == "deleted":
        return
    if (users := await _users(unit.session, row.id)) > 0:
        detail = f"{users} of tenants, teams, users and keys have {row.id}: give them another plan first"
        raise Problem(409, "plan_in_use", detail, count=users)
    row.status, row.updated_at = "deleted", unit.now
    await _set_limits(unit, row, [])
    await stamp(unit.session, row)
    record(unit, "plan.delete", row.id, {})


async def views(session: AsyncSession, rows: Sequence[Plan]) -> list[PlanView]:
    """Return plans as they are shown."""
    found = await session.scalars(select(Limit).where(Limit.holder.in_([row.id for row in rows])).order_by(Limit.place))
    limits: dict[str, list[PlanLimitView]] = {}
    for limit in found:
        limits.setdefault(limit.holder, []).append(PlanLimitView.model_validate(limit))
    names = [name for name in PlanView.model_fields if name != "limits"]
    return [PlanView(**{name: getattr(row, name) for name in names}, limits=limits.get(row.id, [])) for row in rows]


async def _set_limits(unit: Unit, plan: Plan, wanted: Sequence[PlanLimit]) -> None:
    """Make a plan's limits those wanted; one of the same place keeps its id."""
    there = {row.place: row for row in await held(unit.session, plan.id)}
    for limit in wanted:
        row = there.pop(place(limit.model, limit.meter, limit.window), None)
        if row is None:
            unit.session.add(new_row(unit, "plan", plan.id, None, limit))
            continue
        terms: dict[str, Any] = limit.model_dump(include=set(Terms.model_fields))
        if any(getattr(row, name) != value for name, value in terms.items()):
            for name, value in terms.items():
                setattr(row, name, value)
            row.updated_at = unit.now
    for row in there.values():
        await unit.session.delete(row)


async def _refuse_twin(session: AsyncSession, name: str) -> None:
    if (found := await session.scalar(select(Plan.id).filter_by(name=name, status="active"))) is not None:
        raise Problem(409, "plan_exists", f"{found} is called {name!r} already", id=found)


async def _users(session: AsyncSession, plan: str) -> int:
    """Return how many subjects that are still in use have the plan."""
    counted = [select(func.count()).where(column == plan, living) for column, living in _HOLDERS]
    return sum([await session.scalar(users) or 0 for users in counted])


def _refuse_deleted(row: Plan) -> None:
    if row.status == "deleted":
        raise Problem(409, "plan_deleted", f"plan {row.id} is deleted")
