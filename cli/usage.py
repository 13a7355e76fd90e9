"""`weighbridge usage` and `weighbridge audit`: the questions people ask."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, get_args

import typer

from cli.api_command import Answer, From, Most, Rows, To, api_command, asking, given, group
from cli.client import Api, Json
from cli.errors import CommandError
from cli.periods import moment, since
from contracts.clock import utc_now
from contracts.events import Decision
from contracts.tables import SUMS

NAMES: Final = 1000
"""Tenants, at most, whose names are looked up."""

audit: Final = group("audit", "Who did what, when.")

Values = Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")]
DECISIONS: Final = get_args(Decision)


def _check_decisions(chosen: list[str] | None) -> list[str] | None:
    for decision in chosen or ():
        if decision not in DECISIONS:
            raise CommandError(f"--decision {decision}: give one of {', '.join(DECISIONS)}", 2)
    return chosen


Decisions = Annotated[
    list[str] | None,
    typer.Option(help=f"One of {', '.join(DECISIONS)}; may be given again.", callback=_check_decisions),
]
Start = Annotated[str, typer.Option("--from", help="A time, a date, or how long ago: 90m, 24h, 7d.")]
ACTIONS: Final = ("at", "actor", "action", "target", "details")
REQUESTS: Final = ("event_time", "tenant", "key", "model", "endpoint", "decision", "status", "code", "client_address")


def show_usage(
    api: Api,
    *,
    start: Start = "24h",
    end: To = None,
    bucket: Annotated[str | None, typer.Option(help="minute, hour, day or month. Default: one sum.")] = None,
    group_by: Annotated[str, typer.Option(help="Such as tenant,model,tags.project.")] = "tenant,model",
    time_zone: Annotated[str | None, typer.Option(help="Of days and months; default: the tenant's.")] = None,
    tenant: Values = None,
    model: Values = None,
    key: Values = None,
    most: Most = 1000,
) -> Answer:
    """Show who used what, and what it costs.

    Example: weighbridge usage --from 7d --bucket day --group-by tenant
    """
    query = given(bucket=bucket, time_zone=time_zone, tenant=tenant, model=model, key=key)
    window = {"from": since(start, utc_now()), "to": None if end is None else moment(end)}
    for wanted in tenant or ():
        api.get(f"/v1/tenants/{wanted}")  # without rows, nothing else tells an unknown tenant from an idle one
    rows = [_flat(row) for row in api.all("/v1/usage", most + 1, group_by=group_by, **window, **query)]
    groups = [name.strip() for name in group_by.split(",")]
    if rows and "tenant" in groups:
        names = {found["id"]: found["name"] for found in api.all("/v1/tenants", NAMES)}
        rows = [{**row, "tenant_name": names.get(row["tenant"])} for row in rows]
        groups.insert(groups.index("tenant") + 1, "tenant_name")
    columns = (*(("bucket_start",) if bucket else ()), *groups, *SUMS, "billed_cost", "currency")
    return Rows(rows[:most], columns, list(_notes(rows, most)))


def _notes(rows: Sequence[Json], most: int) -> Iterator[str]:
    """Say what a table of usage does not show; `rows` may be one more than is shown."""
    if len(rows) > most:
        yield f"there are more than these {most} rows: give a greater --most, or a shorter window"
    if any(row["requests"] and row.get("billed_cost") is None for row in rows[:most]):
        yield "no cost where a price is missing or currencies differ: see `weighbridge price list`"


usage: Final = asking(show_usage)


@api_command(audit, "requests")
def search_requests(
    api: Api,
    *,
    start: Start = "24h",
    end: To = None,
    tenant: Values = None,
    key: Values = None,
    model: Values = None,
    decision: Decisions = None,
    code: Values = None,
    status: Values = None,
    request_id: Values = None,
    most: Most = 100,
) -> Answer:
    """Search what was asked of the fleet, also what was refused, newest first.

    Example: weighbridge audit requests --from 1h --decision denied
    """
    query = given(
        tenant=tenant, key=key, model=model, decision=decision, code=code, status=status, request_id=request_id
    )
    window = {"from": since(start, utc_now()), "to": None if end is None else moment(end)}
    return Rows(api.all("/v1/audit/requests", most, **window, **query), REQUESTS)


@api_command(audit, "actions")
def list_actions(
    api: Api,
    *,
    start: From = None,
    end: To = None,
    actor: Annotated[str | None, typer.Option(help="Who did it.")] = None,
    action: Annotated[str | None, typer.Option(help="What, such as key.create.")] = None,
    target: Annotated[str | None, typer.Option(help="The id it was done to.")] = None,
    most: Most = 100,
) -> Answer:
    """List what admins did, newest first.

    Example: weighbridge audit actions --action key.revoke
    """
    window = {"from": None if start is None else moment(start), "to": None if end is None else moment(end)}
    return Rows(api.all("/v1/audit/actions", most, actor=actor, action=action, target=target, **window), ACTIONS)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Put the values of the group beside the sums."""
    return {**row["group"], **{name: value for name, value in row.items() if name != "group"}}
