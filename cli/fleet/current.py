"""What the API has, and which of it the things of a file are."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from cli.client import Api, Json
from cli.fleet.document import Place
from cli.fleet.things import PATHS, Ref, Thing

Rows = Mapping[str, Sequence[Json]]
"""By kind."""


@dataclass
class Matching:
    """Which row of the API each thing is. `flaws`: places of the file, and why they cannot be told."""

    rows: Rows
    found: dict[Place, Json] = field(default_factory=dict)
    ids: dict[Place, str] = field(default_factory=dict)
    flaws: list[tuple[Place, str]] = field(default_factory=list)

    def id_of(self, ref: Ref) -> str | None:
        """Return the id of what is referred to; None: it is not there yet."""
        if ref.place is not None:
            return self.ids.get(ref.place)
        named = [row for row in self.rows[ref.kind] if ref.name in {row["name"], row.get("external_id")}]
        return str(named[0]["id"]) if len(named) == 1 else None

    def resolve(self, value: Any) -> Any:
        """Return a value with ids in the place of references."""
        if isinstance(value, Ref):
            return self.id_of(value)
        if isinstance(value, dict):
            return {name: self.resolve(part) for name, part in value.items()}
        return value

    def strays(self) -> Iterator[tuple[str, Json]]:
        """Yield kind and row of what the API has, in reach of the file, and the file has not.

        In reach are all plans and tenants, and of the file's own tenants, teams and users what belongs to them.
        """
        known = {row["id"] for row in self.found.values()}
        for kind in ("limit", "user", "team", "tenant", "plan"):
            for row in self.rows[kind]:
                if row["id"] not in known and self._in_reach(kind, row, known):
                    yield kind, row

    def _in_reach(self, kind: str, row: Json, known: set[str]) -> bool:
        if kind == "limit":
            return holder(row) in known  # no key is: their limits are not in the file
        return kind in {"plan", "tenant"} or row["tenant"] in known


def fetch(api: Api) -> Rows:
    """Read all that a file may be about."""
    return {kind: api.all(path) for kind, path in PATHS.items()}


def match(wanted: Sequence[Thing], rows: Rows) -> Matching:
    """Find each thing of a file among the rows: by `external_id`, else by name, within what it belongs to."""
    matching = Matching(rows)
    claimed = {(_scope(thing), thing.fields["external_id"]) for thing in wanted if "external_id" in thing.fields}
    for thing in wanted:
        for name, value in {**thing.fields, **thing.fixed}.items():
            if isinstance(value, Ref) and value.place is None and matching.id_of(value) is None:
                matching.flaws.append(((*thing.place, name), f"there is no {value.kind} {value.name!r}"))
        candidates = list(_candidates(thing, matching, claimed))
        if len(candidates) > 1:
            matching.flaws.append((thing.place, f"there are {len(candidates)} called {thing.name}: give external_id"))
        elif candidates:
            matching.found[thing.place] = candidates[0]
            matching.ids[thing.place] = candidates[0]["id"]
    return matching


def holder(limit: Json) -> str | None:
    """Return the id of whom a limit holds: the narrowest of its subject."""
    subject = limit["subject"]
    return next((subject[kind] for kind in ("key", "user", "team", "tenant") if subject[kind] is not None), None)


def _scope(thing: Thing) -> tuple[Any, ...]:
    """Return within what an `external_id` is unique."""
    return thing.kind, thing.fixed.get("tenant")


def _candidates(thing: Thing, matching: Matching, claimed: Set[tuple[Any, ...]]) -> Iterator[Json]:
    rows = matching.rows[thing.kind]
    if thing.kind == "limit":
        subject = matching.resolve(thing.fixed["subject"])
        model = subject.pop("model")
        (wanted,) = subject.values()
        same = (model, thing.fixed["meter"], thing.fixed["window"])
        if wanted is not None:
            yield from (
                row
                for row in rows
                if holder(row) == wanted and (row["subject"]["model"], row["meter"], row["window"]) == same
            )
        return
    if "tenant" in thing.fixed:
        tenant = matching.resolve(thing.fixed["tenant"])
        if tenant is None and thing.fixed["tenant"] is not None:
            return  # its tenant is not there yet
        rows = [row for row in rows if row["tenant"] == tenant]
    external, name = thing.fields.get("external_id"), thing.fields["name"]
    if external is not None:
        exact = [row for row in rows if row["external_id"] == external]
        yield from exact or [row for row in rows if row["name"] == name and row["external_id"] is None]
        return
    yield from (row for row in rows if row["name"] == name and (_scope(thing), row.get("external_id")) not in claimed)
