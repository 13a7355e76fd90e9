"""`weighbridge tenant`, `team` and `user`."""

from typing import Annotated, Final

import typer

from cli.api_command import (
    Answer,
    MaybeTenant,
    Most,
    Plan,
    Rows,
    Tag,
    Team,
    Tenant,
    api_command,
    check_currency,
    cleared,
    clearing,
    given,
    group,
    tags,
)
from cli.client import Api

tenant: Final = group("tenant", "Who pays: tenants.")
team: Final = group("team", "Parts of a tenant: teams.")
user: Final = group("user", "People and programs of a tenant: users.")

COLUMNS: Final = (
    "id",
    "name",
    "tenant",
    "team",
    "status",
    "plan",
    "time_zone",
    "currency",
    "cost_center",
    "external_id",
    "created_at",
)
Name = Annotated[str, typer.Argument(help="A name for people.")]
Zone = Annotated[str | None, typer.Option(help="Its days and months, such as Europe/Berlin. Default: UTC.")]
Currency = Annotated[
    str | None, typer.Option(help="Of its invoices, such as EUR; cannot be changed later.", callback=check_currency)
]
CostCenter = Annotated[str | None, typer.Option(help="For your books.")]
ExternalId = Annotated[str | None, typer.Option(help="Its id in your systems.")]
Clear = Annotated[list[str] | None, clearing("plan", "cost_center", "external_id")]
Status = Annotated[str | None, typer.Option(help="active, suspended or deleted.")]


@api_command(tenant, "create")
def create_tenant(
    api: Api,
    name: Name,
    *,
    time_zone: Zone = None,
    currency: Currency = None,
    plan: Plan = None,
    cost_center: CostCenter = None,
    external_id: ExternalId = None,
    tag: Tag = None,
) -> Answer:
    """Create a tenant.

    Example: weighbridge tenant create Search --time-zone Europe/Berlin --currency EUR
    """
    fields = given(time_zone=time_zone, currency=currency, plan=plan, cost_center=cost_center)
    fields |= given(external_id=external_id, tags=tags(tag))
    return api.post("/v1/tenants", {"name": name, **fields})


@api_command(tenant, "record-prompts")
def record_prompts(
    api: Api,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Id of the tenant.")],
    *,
    off: Annotated[bool, typer.Option("--off", help="Record no more of them.")] = False,
) -> Answer:
    """Copy what a tenant asks and is answered to the Kafka topic weighbridge.prompt.v1, from now on.

    Example: weighbridge tenant record-prompts ten_01j…
    """
    return api.patch(f"/v1/tenants/{wanted}", {"record_prompts": not off})


@api_command(team, "create")
def create_team(
    api: Api,
    name: Name,
    *,
    tenant: Tenant,
    plan: Plan = None,
    cost_center: CostCenter = None,
    external_id: ExternalId = None,
    tag: Tag = None,
) -> Answer:
    """Create a team.

    Example: weighbridge team create Ranking --tenant ten_01j…
    """
    fields = given(plan=plan, cost_center=cost_center, external_id=external_id, tags=tags(tag))
    return api.post("/v1/teams", {"name": name, "tenant": tenant, **fields})


@api_command(user, "create")
def create_user(
    api: Api,
    name: Name,
    *,
    tenant: Tenant,
    team: Team = None,
    plan: Plan = None,
    cost_center: CostCenter = None,
    external_id: ExternalId = None,
    tag: Tag = None,
) -> Answer:
    """Create a user.

    Example: weighbridge user create ada --tenant ten_01j… --team team_01j…
    """
    fields = given(team=team, plan=plan, cost_center=cost_center, external_id=external_id, tags=tags(tag))
    return api.post("/v1/users", {"name": name, "tenant": tenant, **fields})


@api_command(tenant, "list")
def list_tenants(api: Api, status: Status = None, most: Most = 1000) -> Answer:
    """List tenants.

    Example: weighbridge tenant list --json
    """
    return Rows(api.all("/v1/tenants", most, status=status), COLUMNS)


def _members(app: typer.Typer, kind: str) -> None:
    """Add the list of teams or users."""

    def list_members(api: Api, tenant: MaybeTenant = None, status: Status = None, most: Most = 1000) -> Answer:
        return Rows(api.all(f"/v1/{kind}s", most, tenant=tenant, status=status), COLUMNS)

    list_members.__doc__ = f"List {kind}s.\n\nExample: weighbridge {kind} list --tenant ten_01j…"
    api_command(app, "list")(list_members)


def _common(app: typer.Typer, kind: str, example: str) -> None:
    """Add what all three can do."""
    identity = Annotated[str, typer.Argument(metavar="ID", help=f"Id of the {kind}.")]

    def show(api: Api, wanted: identity) -> Answer:
        return api.get(f"/v1/{kind}s/{wanted}")

    def change(
        api: Api,
        wanted: identity,
        *,
        name: Annotated[str | None, typer.Option(help="A new name.")] = None,
        plan: Plan = None,
        cost_center: CostCenter = None,
        external_id: ExternalId = None,
        tag: Tag = None,
        clear: Clear = None,
    ) -> Answer:
        fields = given(name=name, plan=plan, cost_center=cost_center, external_id=external_id, tags=tags(tag))
        return api.patch(f"/v1/{kind}s/{wanted}", fields | cleared(clear))

    def suspend(api: Api, wanted: identity) -> Answer:
        return api.patch(f"/v1/{kind}s/{wanted}", {"status": "suspended"})

    def resume(api: Api, wanted: identity) -> Answer:
        return api.patch(f"/v1/{kind}s/{wanted}", {"status": "active"})

    def delete(api: Api, wanted: identity) -> Answer:
        return {"deleted": wanted, **api.delete(f"/v1/{kind}s/{wanted}")}

    for name, function, says in (
        ("show", show, f"Show a {kind}."),
        ("set", change, f"Change a {kind}; what is not given stays."),
        ("suspend", suspend, f"Refuse a {kind}'s requests from now on, at every proxy within a second."),
        ("resume", resume, f"Let a suspended {kind} send requests again."),
        ("delete", delete, f"End a {kind} for good; its usage stays in the books."),
    ):
        more = " --name New" if name == "set" else ""
        function.__doc__ = f"{says}\n\nExample: weighbridge {kind} {name} {example}{more}"
        api_command(app, name)(function)


_members(team, "team")
_members(user, "user")
_common(tenant, "tenant", "ten_01j…")
_common(team, "team", "team_01j…")
_common(user, "user", "user_01j…")
