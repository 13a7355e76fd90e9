"""`weighbridge key import`."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.api_command import Answer, Plan, Rows, Tag, Team, Tenant, User, given
from cli.client import Api
from cli.errors import CommandError
from cli.key_rights import Addresses, Endpoints, Expires, Models, rights
from cli.output import progress

COLUMNS: Final = ("id", "name", "tenant", "team", "user", "status", "hint", "imported", "expires_at")
MIN_SECRET: Final = 16
MAX_SECRET: Final = 512


def import_keys(
    api: Api,
    file: Annotated[Path, typer.Argument(help="A line for each key: the key, then perhaps a name. `-`: stdin.")],
    *,
    tenant: Tenant,
    team: Team = None,
    user: User = None,
    plan: Plan = None,
    expires_at: Expires = None,
    model: Models = None,
    endpoint: Endpoints = None,
    address: Addresses = None,
    tag: Tag = None,
) -> Answer:
    """Take keys that clients already have, so that no client needs a new one. Only their HMAC is stored.

    A key that is stored already is left as it is, so that an import can be repeated.
    What is given beside the file holds for each key that is taken.

    Example: weighbridge key import keys.txt --tenant ten_01j…
    """
    lines = _secrets(file)
    shared = rights(plan, expires_at, model, endpoint, address, tag)
    rows = []
    with progress("Importing", len(lines)) as done:
        for count, (number, secret, name) in enumerate(lines, 1):
            fields = given(team=team, user=user, name=name)
            try:
                rows.append(api.post("/v1/keys", {"tenant": tenant, "secret": secret, **fields, **shared}))
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
