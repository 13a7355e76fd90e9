"""Making changes, one after the other."""

from collections.abc import Iterator, Sequence

from cli.client import Api
from cli.errors import CommandError
from cli.fleet.current import Matching
from cli.fleet.difference import Change


def make(api: Api, changes: Sequence[Change], matching: Matching) -> Iterator[Change]:
    """Make changes and yield each when it is made. Raises CommandError that says which could not be made."""
    for number, change in enumerate(changes):
        try:
            _make(api, change, matching)
        except CommandError as error:
            done = f"{number} of {len(changes)} changes are made; apply again to go on"
            raise CommandError(f"{change.label}: {error}; {done}", error.status, error.code) from None
        yield change


def _make(api: Api, change: Change, matching: Matching) -> None:
    if change.sign == "-":
        api.delete(change.path)
        return
    body = matching.resolve(change.body)
    assert change.place is not None
    if change.sign == "+":
        made = api.post(change.path, body)
        matching.found[change.place], matching.ids[change.place] = made, made["id"]
    else:
        api.patch(change.path.format(id=matching.ids[change.place]), body)
