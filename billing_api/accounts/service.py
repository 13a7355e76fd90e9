"""Creating, finding, changing and ending tenants, teams and users."""

from typing import Final, TypeVar

from sqlalchemy import Select, select

from billing_api.accounts.models import Subject, Team, Tenant, User
from billing_api.accounts.schemas import SubjectIn, SubjectPatch, SubjectQuery
from billing_api.audit.actions import record
from billing_api.db import LOCKED
from billing_api.errors import Problem, not_found
from billing_api.limits import plan_service as plans
from billing_api.projection.revisions import stamp
from billing_api.unit import Unit
from contracts.ids import new_id

AnySubject = TypeVar("AnySubject", Tenant, Team, User)

_KIND: Final[dict[type[Subject], tuple[str, str]]] = {
    Tenant: ("tenant", "ten"),
    Team: ("team", "team"),
    User: ("user", "user"),
}


async def create(unit: Unit, table: type[AnySubject], body: SubjectIn) -> AnySubject:
    """Create a subject; its tenant and team, where it has them, must exist and not be deleted."""
    kind, prefix = _KIND[table]
    fields = body.model_dump()
    await _check_owners(unit, fields)
    await plans.check(unit, body.plan)
    row = table(**fields, id=new_id(prefix, unit.now_ms), status="active", created_at=unit.now, updated_at=unit.now)
    await stamp(unit.session, row)
    record(unit, f"{kind}.create", row.id, body.model_dump(mode="json"))
    return row


async def find(unit: Unit, table: type[AnySubject], wanted: str, *, lock: bool = False) -> AnySubject:
    """Return a subject; raises a 404 problem."""
    row = await unit.session.get(table, wanted, with_for_update=LOCKED if lock else None)
    if row is None:
        raise not_found(_KIND[table][0], wanted)
    return row


async def change(unit: Unit, table: type[AnySubject], wanted: str, body: SubjectPatch) -> AnySubject:
    """Change the fields that the body names."""
    row = await find(unit, table, wanted, lock=True)
    _refuse_deleted(table, row)
    changes = body.model_dump(exclude_unset=True)
    if changes.get("team") is not None and isinstance(row, User):
        await _check_owners(unit, {"tenant": row.tenant, "team": changes["team"]})
    await plans.check(unit, changes.get("plan"))
    for name, value in changes.items():
        setattr(row, name, value)
    row.updated_at = unit.now
    await stamp(unit.session, row)
    record(unit, f"{_KIND[table][0]}.update", row.id, body.model_dump(mode="json", exclude_unset=True))
    return row


async def remove(unit: Unit, table: type[AnySubject], wanted: str) -> None:
    """End a subject for good: it is refused by the proxies and kept for the books. Doing it again changes nothing."""
    row = await find(unit, table, wanted, lock=True)
    if row.status == "deleted":
        return
    row.status, row.updated_at = "deleted", unit.now
    await stamp(unit.session, row)
    record(unit, f"{_KIND[table][0]}.delete", row.id, {})


def listing(table: type[AnySubject], asked: SubjectQuery) -> Select[AnySubject]:
    """Select subjects; those deleted only when asked for."""
    wanted = asked.model_dump(exclude_none=True, exclude={"limit", "cursor"})
    rows = select(table).filter_by(**wanted)
    return rows if asked.status else rows.where(table.status != "deleted")


async def _check_owners(unit: Unit, fields: dict[str, str | None]) -> None:
    """Refuse a tenant or team that does not exist, is deleted, or belongs to somebody else."""
    if fields.get("tenant") is not None:
        _refuse_deleted(Tenant, await _owner(unit, Tenant, str(fields["tenant"])))
    if fields.get("team") is not None:
        team = await _owner(unit, Team, str(fields["team"]))
        _refuse_deleted(Team, team)
        if team.tenant != fields["tenant"]:
            raise Problem(422, "wrong_tenant", f"team {team.id} belongs to another tenant")


async def check_owners(unit: Unit, tenant: str, team: str | None, user: str | None) -> None:
    """Refuse owners of a key that do not exist, are deleted, or belong to another tenant; raises 404, 409 and 422 problems."""
    await _check_owners(unit, {"tenant": tenant, "team": team})
    if user is not None:
        owner = await _owner(unit, User, user)
        _refuse_deleted(User, owner)
        if owner.tenant != tenant:
            raise Problem(422, "wrong_tenant", f"user {user} belongs to another tenant")


async def _owner(unit: Unit, table: type[AnySubject], wanted: str) -> AnySubject:
    row = await unit.session.get(table, wanted)
    if row is None:
        kind = _KIND[table][0]
        raise Problem(422, f"unknown_{kind}", f"there is no {kind} {wanted!r}")
    return row


def _refuse_deleted(table: type[Subject], row: Subject) -> None:
    if row.status == "deleted":
        kind = _KIND[table][0]
        raise Problem(409, f"{kind}_deleted", f"{kind} {row.id} is deleted")
