"""`weighbridge plan`."""

import re
from collections.abc import Sequence
from typing import Annotated, Final, get_args

import typer

from cli.api_command import Answer, Most, Rows, api_command, cleared, clearing, given, group
from cli.client import Api, Json
from cli.errors import CommandError
from contracts.limits import Meter, Priority, Window

plan: Final = group("plan", "Plans: limits, models and priority that many share.")

COLUMNS: Final = ("id", "name", "status", "priority", "weight", "max_tokens", "models", "limits")
_LIMIT: Final = re.compile(r"(?P<meter>[a-z_]+)(/(?P<window>[a-z]+))?(@(?P<model>.+))?=(?P<amount>[0-9.]+)")
Clear = Annotated[list[str] | None, clearing("models", "max_tokens", "limits")]
PlanId = Annotated[str, typer.Argument(metavar="ID", help="Id of the plan (plan_…).")]
Limits = Annotated[
    list[str] | None,
    typer.Option("--limit", help="METER/WINDOW=AMOUNT or METER/WINDOW@MODEL=AMOUNT; may be given again."),
]
Models = Annotated[list[str] | None, typer.Option("--model", help="Only this model; may be given again.")]
PriorityOption = Annotated[Priority | None, typer.Option(help="batch waits for interactive. Default: interactive.")]
Weight = Annotated[int | None, typer.Option(help="Share of a busy instance, against others'. Default: 100.")]
MaxTokens = Annotated[int | None, typer.Option(help="The most tokens that one answer may have.")]


@api_command(plan, "create")
def create(
    api: Api,
    name: Annotated[str, typer.Argument(help="A name that no other plan has.")],
    *,
    limit: Limits = None,
    model: Models = None,
    priority: PriorityOption = None,
    weight: Weight = None,
    max_tokens: MaxTokens = None,
) -> Answer:
    """Create a plan. Each tenant, team, user or key that has it has its own count of its limits.

    Limits with more to say (mode, precision, …) are written in a file: weighbridge apply.

    Example: weighbridge plan create standard --limit total_tokens/minute=100000 --limit concurrency=8 --max-tokens 4096
    """
    fields = given(models=model, priority=priority, weight=weight, max_tokens=max_tokens)
    return api.post("/v1/plans", {"name": name, "limits": _limits(limit or ()), **fields})


@api_command(plan, "list")
def list_plans(
    api: Api, status: Annotated[str | None, typer.Option(help="active or deleted.")] = None, most: Most = 1000
) -> Answer:
    """List plans.

    Example: weighbridge plan list
    """
    rows = api.all("/v1/plans", most, status=status)
    return Rows([{**row, "limits": [_short(limit) for limit in row["limits"]]} for row in rows], COLUMNS)


@api_command(plan, "show")
def show(api: Api, wanted: PlanId) -> Answer:
    """Show a plan with its limits.

    Example: weighbridge plan show plan_01j…
    """
    return api.get(f"/v1/plans/{wanted}")


@api_command(plan, "set")
def change(
    api: Api,
    wanted: PlanId,
    *,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    limit: Limits = None,
    model: Models = None,
    priority: PriorityOption = None,
    weight: Weight = None,
    max_tokens: MaxTokens = None,
    clear: Clear = None,
) -> Answer:
    """Change a plan for all that have it; what is not given stays. --limit replaces all limits, --model all models.

    Example: weighbridge plan set plan_01j… --weight 300 --clear max_tokens
    """
    fields = given(name=name, models=model, priority=priority, weight=weight, max_tokens=max_tokens)
    nothing = cleared(clear)
    if "limits" in nothing:
        nothing["limits"] = []
    replaced = {} if limit is None else {"limits": _limits(limit)}
    return api.patch(f"/v1/plans/{wanted}", fields | replaced | nothing)


@api_command(plan, "delete")
def delete(api: Api, wanted: PlanId) -> Answer:
    """End a plan that nobody has any more.

    Example: weighbridge plan delete plan_01j…
    """
    return {"deleted": wanted, **api.delete(f"/v1/plans/{wanted}")}


def _limits(texts: Sequence[str]) -> list[Json]:
    """Read `--limit` flags; raises CommandError for one that is none."""
    found = []
    for text in texts:
        parts = _LIMIT.fullmatch(text)
        if parts is None or parts["meter"] not in get_args(Meter) or parts["window"] not in (None, *get_args(Window)):
            example = "such as total_tokens/minute=100000, requests/second@llama=10 or concurrency=8"
            meters, windows = ", ".join(get_args(Meter)), ", ".join(get_args(Window))
            raise CommandError(f"--limit {text}: write {example}; meters: {meters}; windows: {windows}", 2)
        found.append(given(**parts.groupdict()))
    return found


def _short(limit: Json) -> str:
    """Write a limit as `--limit` takes it."""
    window = f"/{limit['window']}" if limit["window"] else ""
    model = f"@{limit['model']}" if limit["model"] is not None else ""
    return f"{limit['meter']}{window}{model}={limit['amount']}"
