"""What stands in Redis for a row of SQL."""

from dataclasses import dataclass
from typing import Final

from billing_api.accounts.models import Subject, Team, Tenant, User
from billing_api.keys.models import Key
from billing_api.projection.revisions import Projected
from contracts import projection, redis_keys

SUBJECTS: Final[dict[type[Subject], redis_keys.SubjectKind]] = {Tenant: "tenant", Team: "team", User: "user"}
TABLES: Final[tuple[type[Projected], ...]] = (Tenant, Team, User, Key)


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


def entry(row: Projected) -> Entry:
    """Return the entry of a row."""
    if isinstance(row, Key):
        return _key(row)
    assert isinstance(row, Subject)
    return _subject(row)


def _key(row: Key) -> Entry:
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
        revision=row.revision,
    )
    return Entry("key", row.digest, redis_keys.key_record(row.digest), row.revision, projection.encode(record))


def _subject(row: Subject) -> Entry:
    kind = SUBJECTS[type(row)]
    tenant = row.tenant if isinstance(row, Team | User) else None
    record = projection.SubjectRecord(
        id=row.id,
        tenant=tenant,
        external_id=row.external_id,
        status="active" if row.status == "active" else "suspended",
        time_zone=row.time_zone if isinstance(row, Tenant) else "UTC",
        tags=row.tags,
        revision=row.revision,
    )
    external = redis_keys.external_id(kind, tenant, row.external_id) if row.external_id is not None else None
    place = redis_keys.subject_record(kind, row.id)
    return Entry(kind, row.id, place, row.revision, projection.encode(record), external)


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
