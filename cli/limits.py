"""`weighbridge limit`."""

from typing import Annotated, Final

import typer

from cli.api_command import Answer, MaybeTenant, Most, Rows, Team, User, api_command, cleared, clearing, given, group
from cli.client import Api, Json
from contracts.limits import Meter, Mode, OnOutage, Precision, WhenReached, Window

limit: Final = group("limit", "Limits of tenants, teams, users and keys.")

COLUMNS: Final = ("id", "whose", "model", "meter", "window", "amount", "precision", "mode", "on_outage", "when_reached")
MeterOption = Annotated[Meter, typer.Option(help="What is counted.")]
WindowOption = Annotated[
    Window | None, typer.Option(help="Over which time; a day and a month are the tenant's. None for concurrency.")
]
Clear = Annotated[list[str] | None, clearing("degrade_to")]
LimitId = Annotated[str, typer.Argument(metavar="ID", help="Id of the limit (lim_…).")]
Key = Annotated[str | None, typer.Option(help="Id of the key (key_…).")]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(help="strict: never exceeded; expected: by what was running at most. Default: strict."),
]
ModeOption = Annotated[
    Mode | None, typer.Option(help="shadow: only record what it would have denied. Default: enforce.")
]
OutageOption = Annotated[
    OnOutage | None,
    typer.Option(help="While Redis is away: deny all, allow all, or a share for each proxy. Default: deny."),
]
NotifyOption = Annotated[
    list[int] | None,
    typer.Option("--notify-at", help="Alert at this percentage; may be given again. Default: 50 80 100."),
]
ReachedOption = Annotated[
    WhenReached | None, typer.Option(help="At 100 %: block, only notify, or degrade to another model. Default: block.")
]
DegradeOption = Annotated[str | None, typer.Option(help="The model that answers instead, with degrade.")]
AMOUNT: Final = "A whole number; of cost, an amount in the tenant's currency, such as 99.50."


@api_command(limit, "create")
def create(
    api: Api,
    *,
    meter: MeterOption,
    amount: Annotated[str, typer.Option(help=AMOUNT)],
    window: WindowOption = None,
    tenant: MaybeTenant = None,
    team: Team = None,
    user: User = None,
    key: Key = None,
    model: Annotated[str | None, typer.Option(help="Only of this model. Default: all together.")] = None,
    precision: PrecisionOption = None,
    mode: ModeOption = None,
    on_outage: OutageOption = None,
    notify_at: NotifyOption = None,
    when_reached: ReachedOption = None,
    degrade_to: DegradeOption = None,
) -> Answer:
    """Limit a tenant, or one team, user or key; in force at every proxy within a second.

    It replaces the limit of its plan with the same model, meter and window.

    Example: weighbridge limit create --tenant ten_01j… --meter total_tokens --window minute --amount 10000
    """
    subject = given(tenant=tenant, team=team, user=user, key=key, model=model)
    terms = _terms(precision, mode, on_outage, notify_at, when_reached, degrade_to)
    body = {"subject": subject, "meter": meter, "window": window, "amount": amount, **terms}
    return api.post("/v1/limits", body)


@api_command(limit, "list")
def list_limits(
    api: Api,
    tenant: MaybeTenant = None,
    team: Team = None,
    user: User = None,
    key: Key = None,
    plan: Annotated[str | None, typer.Option(help="Those of this plan (plan_…), which others leave out.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    meter: Annotated[Meter | None, typer.Option(help="Only of this meter.")] = None,
    most: Most = 1000,
) -> Answer:
    """List limits; of a tenant, those of its teams, users and keys too.

    Example: weighbridge limit list --tenant ten_01j…
    """
    query = {"tenant": tenant, "team": team, "user": user, "key": key, "plan": plan, "model": model, "meter": meter}
    return Rows([_row(found) for found in api.all("/v1/limits", most, **query)], COLUMNS)


@api_command(limit, "show")
def show(api: Api, wanted: LimitId) -> Answer:
    """Show a limit.

    Example: weighbridge limit show lim_01j…
    """
    return api.get(f"/v1/limits/{wanted}")


@api_command(limit, "state")
def state(api: Api, wanted: LimitId) -> Answer:
    """Show what is used, reserved and left of a limit now, and when it renews.

    Example: weighbridge limit state lim_01j…
    """
    return api.get(f"/v1/limits/{wanted}/state")


@api_command(limit, "set")
def change(
    api: Api,
    wanted: LimitId,
    *,
    amount: Annotated[str | None, typer.Option(help=AMOUNT)] = None,
    precision: PrecisionOption = None,
    mode: ModeOption = None,
    on_outage: OutageOption = None,
    notify_at: NotifyOption = None,
    when_reached: ReachedOption = None,
    degrade_to: DegradeOption = None,
    clear: Clear = None,
) -> Answer:
    """Change a limit; what is not given stays, and what is used so far stays used.

    Subject, meter and window cannot change: delete the limit and create another.

    Example: weighbridge limit set lim_01j… --amount 20000
    """
    terms = _terms(precision, mode, on_outage, notify_at, when_reached, degrade_to)
    return api.patch(f"/v1/limits/{wanted}", given(amount=amount) | terms | cleared(clear))


@api_command(limit, "delete")
def delete(api: Api, wanted: LimitId) -> Answer:
    """End a limit; its subject is held to its plan's again, if that has one of the same kind.

    Example: weighbridge limit delete lim_01j…
    """
    return {"deleted": wanted, **api.delete(f"/v1/limits/{wanted}")}


def _terms(
    precision: str | None,
    mode: str | None,
    on_outage: str | None,
    notify_at: list[int] | None,
    when_reached: str | None,
    degrade_to: str | None,
) -> Json:
    return given(
        precision=precision,
        mode=mode,
        on_outage=on_outage,
        notify_at=notify_at,
        when_reached=when_reached,
        degrade_to=degrade_to,
    )


def _row(found: Json) -> Json:
    """Return a limit with its subject in one column, and its model beside it."""
    whose = {kind: wanted for kind, wanted in found["subject"].items() if kind != "model" and wanted is not None}
    narrowest = list(whose.values())[-1] if whose else found["plan"]
    return {**found, "whose": narrowest, "model": found["subject"]["model"]}
