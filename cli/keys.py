"""`weighbridge key`."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.api_command import Answer, MaybeTenant, Most, Rows, Tag, Team, Tenant, User, api_command, given, group, tags
from cli.client import Api
from cli.errors import CommandError
from cli.output import progress

key: Final = group("key", "API keys.")

COLUMNS: Final = ("id", "name", "tenant", "team", "user", "status", "hint", "imported", "expires_at", "created_at")
MIN_SECRET: Final = 16
MAX_SECRET: Final = 512
KeyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the key (key_…).")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Only this model; may be given again.")]
Endpoints = Annotated[list[str] | None, typer.Option("--endpoint", help="Only this path; may be given again.")]
Addresses = Annotated[list[str] | None, typer.Option("--address", help="Only from this network; may be given again.")]
Expires = Annotated[str | None, typer.Option(help="When it ends, such as 2027-01-01T00:00:00Z.")]


@api_command(key, "create")
def create(
    api: Api,
    *,
    tenant: Tenant,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    team: Team = None,
    user: User = None,
    expires_at: Expires = None,
    model: Models = None,
    endpoint: Endpoints = None,
    address: Addresses = None,
    tag: Tag = None,
) -> Answer:
    """Create a key. Its secret is shown this once.

    Example: weighbridge key create --tenant ten_01j… --name ci --model llama
    """
    fields = given(name=name, team=team, user=user, expires_at=expires_at, tags=tags(tag))
    fields |= given(models=model, endpoints=endpoint, addresses=address)
    return api.post("/v1/keys", {"tenant": tenant, **fields})


@api_command(key, "import")
def import_keys(
    api: Api,
    file: Annotated[Path, typer.Argument(help="A line for each key: the key, then perhaps a name. `-`: stdin.")],
    *,
    tenant: Tenant,
    team: Team = None,
    user: User = None,
) -> Answer:
    """Take keys that clients already have, so that no client needs a new one. Only their HMAC is stored.

    A key that is stored already is left as it is, so that an import can be repeated.

    Example: weighbridge key import keys.txt --tenant ten_01j…
    """
    lines = _secrets(file)
    rows = []
    with progress("Importing", len(lines)) as done:
        for count, (number, secret, name) in enumerate(lines, 1):
            fields = given(team=team, user=user, name=name)
            try:
                rows.append(api.post("/v1/keys", {"tenant": tenant, "secret": secret, **fields}))
            except CommandError as error:
                if error.code != "key_exists":
                    raise CommandError(
                        f"{file}, line {number}: {error}; those before it are in", error.status
                    ) from None
            done(count)
    there = len(lines) - len(rows)
    typer.echo(
        f"{len(rows)} imported" + (f", {there} {'was' if there == 1 else 'were'} there already" if there else ""),
        err=True,
    )
    return Rows([{**row, "secret": None} for row in rows], COLUMNS)


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


def _secrets(file: Path) -> list[tuple[int, str, str | None]]:
    """Return number, key and name of each line that holds a key; raises CommandError when one cannot be a key."""
    found = []
    for number, line in enumerate(_text(file).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        secret, *name = line.split(maxsplit=1)
        if not (MIN_SECRET <= len(secret) <= MAX_SECRET and secret.isascii() and secret.isprintable()):
            wanted = f"{MIN_SECRET} to {MAX_SECRET} ASCII letters, digits and signs"
            raise CommandError(f"{file}, line {number}: this is no key: a key is {wanted}; nothing was imported", 2)
        found.append((number, secret, name[0].strip() if name else None))
    if not found:
        raise CommandError(f"{file} holds no keys: write one a line", 2)
    return found


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}", 2) from error
