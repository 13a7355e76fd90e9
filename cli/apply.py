"""`weighbridge apply`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.api_command import Answer, Lines, asking
from cli.client import Api, Json
from cli.fleet.current import fetch, match
from cli.fleet.difference import Change, difference
from cli.fleet.making import make
from cli.fleet.reading import read
from cli.fleet.things import things

SIGNS: Final = {"+": "create", "~": "change", "-": "delete"}


def apply_file(
    api: Api,
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="The fleet file (YAML).")],
    dry_run: Annotated[bool, typer.Option(help="Only print what would be done.")] = False,
    prune: Annotated[bool, typer.Option(help="Delete what the file does not name; without it, that stays.")] = False,
) -> Answer:
    """Make tenants, teams, users, plans, limits and price books what a file says, and print the difference.

    Lines start with + (created), ~ (changed) or - (deleted). A second run has nothing to do.

    Nothing is done before the whole file is known to be sound.

    Things are found by external_id, else by name. A field that is left out has its default;
    only status and external_id stay as they are.

    --prune deletes plans and tenants that the file does not name,
    and of its own tenants the teams, users and limits; never keys, their limits, or price books.

    deploy/examples/fleet.yaml shows all that a file can say.

    Example: weighbridge apply -f fleet.yaml --dry-run
    """
    document, fleet = read(file)
    wanted = things(fleet)
    matching = match(wanted, fetch(api))
    changes = difference(wanted, matching, prune=prune)
    if matching.flaws:
        raise document.wrong(matching.flaws)
    stray = 0 if prune else sum(1 for _ in matching.strays())
    made = iter(changes) if dry_run else make(api, changes, matching)
    return Lines(_lines(made), _notes(changes, stray, dry_run=dry_run))


apply = asking(apply_file)


def _lines(changes: Iterator[Change]) -> Iterator[tuple[str, Json]]:
    for change in changes:
        details = {name: list(pair) for name, pair in change.details.items()}
        yield change.line, {"change": change.sign, "what": change.label, "details": details}


def _notes(changes: list[Change], stray: int, *, dry_run: bool) -> list[str]:
    signs: list[str] = [change.sign for change in changes]
    said = [(signs.count(sign), f"to {verb}" if dry_run else f"{verb}d") for sign, verb in SIGNS.items()]
    notes = [", ".join(f"{count} {words}" for count, words in said if count) or "nothing to do"]
    if stray:
        notes.append(f"{stray} not named in the file {'stays' if stray == 1 else 'stay'}; --prune deletes")
    return notes
