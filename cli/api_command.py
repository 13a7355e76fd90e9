"""Commands that ask the billing API: what they share (where it is, its token, the way to print) is added here once."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cli.client import DATA_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE, Json, connect
from cli.errors import CommandError
from cli.output import JsonFlag, print_lines, print_record, print_rows


@dataclass(frozen=True)
class Rows:
    """Several things, the fields that a table shows of them, and what is to be said about them on stderr."""

    rows: Sequence[Json]
    columns: Sequence[str]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Lines:
    """Lines that come one by one, each with what programs read instead, and what is to be said in the end on stderr."""

    lines: Iterator[tuple[str, Json]]
    notes: Sequence[str] = ()


Answer = Rows | Lines | Json
_SHARED: Final = {
    "api_url": Annotated[str | None, typer.Option(help=f"The billing API; or {URL_VARIABLE}.")],
    "api_token": Annotated[str | None, typer.Option(help=f"Its token; better {TOKEN_VARIABLE}, which nobody sees.")],
    "data_dir": Annotated[Path | None, typer.Option(help=f"Of a running `up`, which knows both; or {DATA_VARIABLE}.")],
    "as_json": JsonFlag,
}


def api_command(app: typer.Typer, name: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Add a function to a group as a command, made by `asking`."""

    def add(function: Callable[..., Answer]) -> Callable[..., Answer]:
        app.command(name)(asking(function))
        return function

    return add


def asking(function: Callable[..., Answer]) -> Callable[..., None]:
    """Return the command of a function: its first argument is the client, and what it returns is printed."""

    def run(**flags: Any) -> None:
        as_json = flags.pop("as_json")
        with connect(*(flags.pop(flag) for flag in ("api_url", "api_token", "data_dir"))) as api:
            _print(function(api, **flags), as_json=as_json)

    own = list(inspect.signature(function).parameters.values())[1:]
    shared = [
        inspect.Parameter(
            flag, inspect.Parameter.KEYWORD_ONLY, default=False if flag == "as_json" else None, annotation=kind
        )
        for flag, kind in _SHARED.items()
    ]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + shared
    run.__doc__ = function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _print(answer: Answer, *, as_json: bool) -> None:
    if isinstance(answer, Rows):
        print_rows(answer.rows, answer.columns, as_json=as_json)
    elif isinstance(answer, Lines):
        print_lines(answer.lines, as_json=as_json)
    else:
        print_record(answer, as_json=as_json)
    for note in getattr(answer, "notes", ()):
        typer.echo(note, err=True)


def group(name: str, summary: str) -> typer.Typer:
    """Return an empty group of commands."""
    return typer.Typer(name=name, help=summary, no_args_is_help=True)


def given(**fields: Any) -> Json:
    """Return the fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def tags(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """Read `name=value` flags; raises CommandError for one that is none."""
    if pairs is None:
        return None
    found = dict(pair.partition("=")[::2] for pair in pairs)
    for name, value in found.items():
        if not name or not value:
            raise CommandError(f"--tag {name}: give it as NAME=VALUE", 2)
    return found


def clearing(*fields: str) -> Any:
    """Return the option that empties one of these fields."""

    def check(chosen: list[str] | None) -> list[str] | None:
        for field in chosen or ():
            if field not in fields:
                raise CommandError(f"--clear {field}: it clears {', '.join(fields)}", 2)
        return chosen

    says = f"Empty this field, one of {', '.join(fields)}; may be given again."
    return typer.Option("--clear", help=says, callback=check)


def cleared(fields: Sequence[str] | None) -> Json:
    """Return the fields that are to be emptied."""
    return dict.fromkeys(fields or ())


def _id(kind: str, prefix: str) -> Any:
    """Return the option of an id; what cannot be one is as unknown as an id that nobody gave out."""

    def check(given_id: str | None) -> str | None:
        if given_id is not None and _ID.fullmatch(given_id) is None:
            raise CommandError(f"there is no {kind} {given_id!r}")
        return given_id

    return typer.Option(help=f"Id of the {kind} ({prefix}_…).", callback=check)


_ID: Final = re.compile("[a-z]{1,8}_[0-9a-z]{1,64}")
Tenant = Annotated[str, _id("tenant", "ten")]
MaybeTenant = Annotated[str | None, _id("tenant", "ten")]
Team = Annotated[str | None, _id("team", "team")]
User = Annotated[str | None, _id("user", "user")]
Plan = Annotated[str | None, _id("plan", "plan")]


def check_currency(code: str | None) -> str | None:
    """Check the value of an option: raises CommandError for what is no currency's code."""
    if code is not None and re.fullmatch("[A-Z]{3}", code) is None:
        raise CommandError(f"--currency {code}: give an ISO 4217 code such as EUR", 2)
    return code


Tag = Annotated[list[str] | None, typer.Option("--tag", help="NAME=VALUE; may be given again.")]
Most = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]
From = Annotated[str | None, typer.Option("--from", help="RFC 3339 time or date (UTC).")]
To = Annotated[str | None, typer.Option("--to", help="RFC 3339 time or date (UTC), exclusive.")]
