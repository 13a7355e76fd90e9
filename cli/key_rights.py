"""What a key may do, as options: shared by all commands that say it."""

from typing import Annotated

import typer

from cli.api_command import given, tags
from cli.client import Json
from cli.periods import moment

Models = Annotated[list[str] | None, typer.Option("--model", help="Only this model; may be given again.")]
Endpoints = Annotated[
    list[str] | None, typer.Option("--endpoint", help="Only this path, such as /v1/embeddings; may be given again.")
]
Addresses = Annotated[
    list[str] | None,
    typer.Option("--address", help="Only from this address or network, such as 10.0.0.0/8; may be given again."),
]
Expires = Annotated[str | None, typer.Option(help="When it ends, such as 2027-01-01 or 2027-01-01T00:00:00Z.")]


def rights(
    plan: str | None,
    expires_at: str | None,
    model: list[str] | None,
    endpoint: list[str] | None,
    address: list[str] | None,
    tag: list[str] | None,
) -> Json:
    """Return the fields that say what a key may do."""
    expires = None if expires_at is None else moment(expires_at)
    return given(plan=plan, expires_at=expires, models=model, endpoints=endpoint, addresses=address, tags=tags(tag))
