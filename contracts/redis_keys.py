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

The limits' counters (written by `proxy/limits/exchange.lua`; see docs/limits.md). Times are microseconds of its clock.

| key | type | fields |
| --- | --- | --- |
| `limit_counter` | hash | `life`; `leased`: sum of all leases; `next`: the first of them may run out then |
| | | for each process: `l:` its lease, `e:` when it runs out, `n:` the number of its last report |
| – of a window that slides | | `b:` + sub-bucket: spent in it; `sum` of them; `low`, `high`: first and last of them |
| – of a day or month | | `ledgered`, `generation`: what the ledger holds, set by `contracts.quota_feedback` |
| | | `p:` + process + `:` + sequence: pending until the ledger has that sequence; `pending`: their sum |
| | | `a:` + percentage: raised as an alert by the stream, and what was used then |
| | | `x:` + moment: held by a lease that ran out, until the ledger is complete past it; `lost`: their sum |
| – after a loss | | `D:` + sub-bucket: declared by all; `d:` + process: the life that it declared in |
| `active_counters` | hash | key of a calendar counter → `ActiveCounter`; written by proxies, read by the stream |
| `LIMITED_TENANTS` | sorted set | tenants with active counters, by the Unix second at which the last of them is gone |
| `LIFE` | hash | `server`, `life`, `ready`; `w:` + process: 1 while it has yet to declare what it holds |
| `PROCESSES` | sorted set | processes (their epochs), by the moment each was last there |
"""

from datetime import date
from typing import Final, Literal

SubjectKind = Literal["tenant", "team", "user"]

MARKER: Final = "wb:projection"
CHANGES: Final = "wb:changes"
CHANGES_KEPT: Final = 10_000
"""Length the stream of changes is trimmed to. A reader that fell behind further drops all it has cached."""
LIFE: Final = "wb:{limits}:life"
PROCESSES: Final = "wb:{limits}:processes"
LIMITED_TENANTS: Final = "wb:{limits}:tenants"


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


def limit_counter(tenant: str, name: str, period: str = "") -> str:
    """Return where a limit is counted: by `Held.name`, and for days and months by the period (`2026-11-21`, `2026-11`)."""
    return f"wb:{{{tenant}}}:limit:{name}{':' if period else ''}{period}"


def active_counters(tenant: str) -> str:
    """Return where a tenant's counters of days and months that are in use are described."""
    return f"wb:{{{tenant}}}:limits:active"
