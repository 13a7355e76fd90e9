"""What stands in Redis for a row of SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_api.accounts.models import Subject, Team, Tenant, User
from billing_api.keys.models import Key
from billing_api.limits.models import Limit, Plan
from billing_api.projection.revisions import Projected
from contracts import projection, redis_keys
from contracts.limit_rules import record_amount
from contracts.limits import LimitRecord, PlanRecord

SUBJECTS: Final[dict[type[Subject], redis_keys.SubjectKind]] = {Tenant: "tenant", Team: "team", User: "user"}
TABLES: Final[tuple[type[Projected], ...]] = (Plan, Tenant, Team, User, Key)
"""Those that others refer to come first."""
Limits = tuple[LimitRecord, ...]


@dataclass(frozen=True)
class Entry:
    """A record, where it stands (`redis_key`), and how the stream of changes names it (`kind`, `id`).

    `found_by`: a further key under which its id stands.
    """

    kind: str
    id: str
    redis_key: str
    revision: int
    record: bytes
    found_by: str | None = None


async def entries(session: AsyncSession, rows: Sequence[Projected]) -> list[Entry]:
    """Return the entries of rows, with their limits as the session sees them: those of the rows' revision or newer."""
    limits: dict[str, Limits] = {}
    holders = [row.id for row in rows]
    found = await session.scalars(select(Limit).where(Limit.holder.in_(holders)).order_by(Limit.place)) if rows else ()
    for limit in found:
        limits[limit.holder] = (*limits.get(limit.holder, ()), _limit(limit))
    return [_entry(row, limits.get(row.id, ())) for row in rows]


def _entry(row: Projected, limits: Limits) -> Entry:
    if isinstance(row, Key):
        return _key(row, limits)
    if isinstance(row, Plan):
        return _plan(row, limits)
    assert isinstance(row, Subject)
    return _subject(row, limits)


def _limit(row: Limit) -> LimitRecord:
    names = [name for name in LimitRecord.__struct_fields__ if name not in {"amount", "notify_at"}]
    plain = {name: getattr(row, name) for name in names}
    record = LimitRecord(**plain, amount=0, notify_at=tuple(row.notify_at))
    return msgspec.structs.replace(record, amount=record_amount(record.meter, row.amount))


def _plan(row: Plan, limits: Limits) -> Entry:
    """Return a plan; one that was deleted, which nobody has, allows and limits nothing."""
    record = PlanRecord(
        id=row.id,
        limits=limits,
        models=_tuple(row.models),
        priority="batch" if row.priority == "batch" else "interactive",
        weight=row.weight,
        max_tokens=row.max_tokens,
        revision=row.revision,
    )
    return Entry("plan", row.id, redis_keys.plan_record(row.id), row.revision, projection.encode(record))


def _key(row: Key, limits: Limits) -> Entry:
    record = projection.KeyRecord(
        id=row.id,
        tenant=row.tenant,
        team=row.team,
        user=row.user,
        status="active" if row.revoked_at is None else "revoked",
        expires_at=row.expires_at,
        models=_tuple(row.models),
        endpoints=_tuple(row.endpoints),
        addresses=_tuple(row.addresses),
        tags=row.tags,
        plan=row.plan,
        limits=limits,
        revision=row.revision,
    )
    return Entry("key", row.digest, redis_keys.key_record(row.digest), row.revision, projection.encode(record))


def _subject(row: Subject, limits: Limits) -> Entry:
    kind = SUBJECTS[type(row)]
    tenant = row.tenant if isinstance(row, Team | User) else None
    record = projection.SubjectRecord(
        id=row.id,
        tenant=tenant,
        external_id=row.external_id,
        status="active" if row.status == "active" else "suspended",
        time_zone=row.time_zone if isinstance(row, Tenant) else "UTC",
        tags=row.tags,
        plan=row.plan,
        limits=limits,
        record_prompts=isinstance(row, Tenant) and row.record_prompts,
        revision=row.revision,
    )
    external = redis_keys.external_id(kind, tenant, row.external_id) if row.external_id is not None else None
    place = redis_keys.subject_record(kind, row.id)
    return Entry(kind, row.id, place, row.revision, projection.encode(record), external)


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
