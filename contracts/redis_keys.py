"""Names of Redis keys. What belongs to one tenant carries the tenant as hash tag, so that it shares a cluster slot.

| key | type | written by | read by |
| --- | --- | --- | --- |
| `key_record`, `subject_record` | hash: revision, record (see `contracts.projection`) | billing_api | proxy |
| `external_id` | hash: revision, record (the id that may have this external id) | billing_api | proxy |
| `plan_record` | hash: revision, record (`contracts.limits.PlanRecord`) | billing_api | proxy |
| `MARKER` | string: Marker as JSON | billing_api | proxy |
| `CHANGES` | stream: kind, id of each record that changed | billing_api | proxy (blocking read: push and poll in one) |
| `day_usage` | hash: generation, requests, input_tokens, output_tokens | stream | proxy, billing_api |

An entry of `CHANGES` has `kind` (key, tenant, team, user or plan) and `id`: of a key its digest, else the id of the thing.
"""

from datetime import date
from typing import Final, Literal

SubjectKind = Literal["tenant", "team", "user"]

MARKER: Final = "wb:projection"
CHANGES: Final = "wb:changes"
CHANGES_KEPT: Final = 10_000
"""Length the stream of changes is trimmed to. A reader that fell behind further drops all it has cached."""


def key_record(digest: str) -> str:
    """Return where the record of an API key stands, by the key's digest."""
    return f"wb:key:{digest}"


def subject_record(kind: SubjectKind, subject_id: str) -> str:
    """Return where the record of a tenant, team or user stands."""
    return f"wb:{kind}:{subject_id}"


def external_id(kind: SubjectKind, tenant: str | None, name: str) -> str:
    """Return where the id stands of the tenant, or of the tenant's team or user, that other systems call by that name.

    The entry outlives a change of the name: it holds only if the subject's record says the same.
    """
    return f"wb:external:{kind}:{name}" if tenant is None else f"wb:external:{kind}:{{{tenant}}}:{name}"


def plan_record(plan_id: str) -> str:
    """Return where the record of a plan stands."""
    return f"wb:plan:{plan_id}"


def day_usage(tenant: str, day: date) -> str:
    """Return where the ledger's figures for a tenant's day (in the tenant's own zone) stand."""
    return f"wb:{{{tenant}}}:usage:day:{day.isoformat()}"
