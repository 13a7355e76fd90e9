"""`weighbridge key`."""

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
    User,
    api_command,
    cleared,
    clearing,
    given,
    group,
)
from cli.client import Api
from cli.key_import import import_keys
from cli.key_rights import Addresses, Endpoints, Expires, Models, rights

key: Final = group("key", "API keys.")

COLUMNS: Final = (
    "id",
    "name",
    "tenant",
    "team",
    "user",
    "status",
    "plan",
    "hint",
    "imported",
    "expires_at",
    "created_at",
)
Clear = Annotated[list[str] | None, clearing("plan", "expires_at", "models", "endpoints", "addresses")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the key (key_…).")]


@api_command(key, "create")
def create(
    api: Api,
    *,
    tenant: Tenant,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    team: Team = None,
    user: User = None,
    plan: Plan = None,
    environment: Annotated[str | None, typer.Option(help="live or test: stands in the key. Default: live.")] = None,
    expires_at: Expires = None,
    model: Models = None,
    endpoint: Endpoints = None,
    address: Addresses = None,
    tag: Tag = None,
) -> Answer:
    """Create a key. Its secret is shown this once.

    Example: weighbridge key create --tenant ten_01j… --name ci --model llama
    """
    fields = given(name=name, team=team, user=user, environment=environment)
    fields |= rights(plan, expires_at, model, endpoint, address, tag)
    return api.post("/v1/keys", {"tenant": tenant, **fields})


api_command(key, "import")(import_keys)


@api_command(key, "list")
def list_keys(api: Api, tenant: MaybeTenant = None, team: Team = None, user: User = None, most: Most = 1000) -> Answer:
    """List keys, without their secrets.

    Example: weighbridge key list --tenant ten_01j…
    """
    return Rows(api.all("/v1/keys", most, tenant=tenant, team=team, user=user), COLUMNS)


@api_command(key, "show")
def show(api: Api, wanted: KeyId) -> Answer:
    """Show a key, without its secret.

    Example: weighbridge key show key_01j…
    """
    return api.get(f"/v1/keys/{wanted}")


@api_command(key, "set")
def change(
    api: Api,
    wanted: KeyId,
    *,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    plan: Plan = None,
    expires_at: Expires = None,
    model: Models = None,
    endpoint: Endpoints = None,
    address: Addresses = None,
    tag: Tag = None,
    clear: Clear = None,
) -> Answer:
    """Change what a key may do, at every proxy within a second; what is not given stays. Lists are replaced as a whole.

    Example: weighbridge key set key_01j… --address 10.0.0.0/8 --clear models
    """
    fields = rights(plan, expires_at, model, endpoint, address, tag)
    return api.patch(f"/v1/keys/{wanted}", given(name=name) | fields | cleared(clear))


@api_command(key, "rotate")
def rotate(
    api: Api,
    wanted: KeyId,
    overlap_seconds: Annotated[int, typer.Option(min=0, help="For how long the old key goes on.")] = 0,
) -> Answer:
    """Replace a key by a new one with the same rights. Its secret is shown this once.

    Example: weighbridge key rotate key_01j… --overlap-seconds 86400
    """
    return api.post(f"/v1/keys/{wanted}/rotate", {"overlap_seconds": overlap_seconds})


@api_command(key, "revoke")
def revoke(api: Api, wanted: KeyId) -> Answer:
    """Refuse a key from now on, at every proxy within a second.

    Example: weighbridge key revoke key_01j…
    """
    return api.post(f"/v1/keys/{wanted}/revoke")
