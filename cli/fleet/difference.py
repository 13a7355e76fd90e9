"""What has to be done so that the API has what a file says. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from cli.client import Json
from cli.fleet.current import Matching, holder
from cli.fleet.document import Place
from cli.fleet.things import PATHS, Ref, Thing


@dataclass(frozen=True)
class Change:
    """One thing to create (`+`), change (`~`) or delete (`-`). `details`: its fields, before and after.

    `path` is where the API takes it (`{id}` stands for that of the thing at `place`), `body` what it takes: it may hold
    references to things that are made before.
    """

    sign: Literal["+", "~", "-"]
    label: str
    details: Mapping[str, tuple[str, str]]
    path: str
    body: Json
    place: Place | None = None

    @property
    def line(self) -> str:
        """The change as people read it."""
        if self.sign == "~":
            said = ", ".join(f"{name} {before} -> {after}" for name, (before, after) in self.details.items())
        else:
            said = ", ".join(f"{name} {after}" for name, (_, after) in self.details.items())
        return f"{self.sign} {self.label}{': ' if said else ''}{said}"


def difference(wanted: list[Thing], matching: Matching, *, prune: bool) -> list[Change]:
    """Return the changes in the order in which they can be made. What can never be changed is added to the flaws."""
    names = {row["id"]: row["name"] for rows in matching.rows.values() for row in rows if "name" in row}
    found: list[Change] = []
    for thing in wanted:
        path = f"{PATHS[thing.kind]}/{{id}}"
        row = matching.found.get(thing.place)
        if row is None:
            body = {**thing.fixed, **{name: value for name, value in thing.fields.items() if name != "status"}}
            found.append(Change("+", thing.label, _first(thing), PATHS[thing.kind], body, thing.place))
            if thing.fields.get("status") == "suspended":
                body = {"status": "suspended"}
                found.append(Change("~", thing.label, {"status": ("active", "suspended")}, path, body, thing.place))
            continue
        matching.flaws += _fixed(thing, row)
        changed = {name: value for name, value in thing.fields.items() if _differs(name, matching.resolve(value), row)}
        if changed:
            details = {name: (_shown(row[name], names), _shown(value, names)) for name, value in changed.items()}
            found.append(Change("~", thing.label, details, path, changed, thing.place))
    return found + (list(_deletions(matching, names)) if prune else [])


def _deletions(matching: Matching, names: Mapping[str, str]) -> Iterator[Change]:
    for kind, row in matching.strays():
        label = f"{kind} {row.get('name') or row['id']}"
        if kind == "limit":
            model = row["subject"]["model"]
            what = "/".join(part for part in (row["meter"], row["window"]) if part) + (f"@{model}" if model else "")
            label = f"limit {what} of {names.get(str(holder(row)), holder(row))}"
        elif kind in {"team", "user"}:
            label = f"{kind} {names[row['tenant']]}/{row['name']}"
        yield Change("-", label, {}, f"{PATHS[kind]}/{row['id']}", {})


def _first(thing: Thing) -> dict[str, tuple[str, str]]:
    """Return what is worth saying of a new thing."""
    return {
        name: ("", _shown(thing.fields[name], {}))
        for name in ("amount", "plan", "limits")
        if thing.fields.get(name) not in (None, [])
    }


def _fixed(thing: Thing, row: Json) -> Iterator[tuple[Place, str]]:
    """Yield what the file wants otherwise and the API never changes."""
    for name in ("currency", "effective_from", "prices"):
        if name in thing.fixed and _differs(name, thing.fixed[name], row):
            advice = "create another tenant" if thing.kind == "tenant" else "give the new prices a name of their own"
            yield (*thing.place, name), f"{thing.label} is there with another {name}, which never changes: {advice}"


def _differs(name: str, wanted: Any, row: Json) -> bool:
    return bool(_canonical(name, wanted) != _canonical(name, row[name]))


def _canonical(name: str, value: Any) -> Any:
    """Return a value in a form in which equal ones are equal: `0.50` and `0.5`, lists without an order."""
    if value is None:
        return None
    match name:
        case "amount" | "price":
            return Decimal(value)
        case "effective_from" | "effective_to":
            return datetime.fromisoformat(value)
        case "limits":
            return {
                (each["model"], each["meter"], each["window"]): {
                    field: _canonical(field, each[field]) for field in each if field not in _NAMING
                }
                for each in value
            }
        case "prices":
            return {(each["model"], each["meter"]): (each["per"], Decimal(each["price"])) for each in value}
    return value


_NAMING = frozenset({"id", "model", "meter", "window"})


def _shown(value: Any, names: Mapping[str, str]) -> str:
    """Write a value for people: names instead of ids."""
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, Ref):
        return value.name
    if isinstance(value, dict):
        return " ".join(f"{name}={part}" for name, part in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(_limit(each) if isinstance(each, dict) else str(each) for each in value) + "]"
    return names.get(str(value), str(value))


def _limit(limit: Json) -> str:
    what = "/".join(part for part in (limit["meter"], limit["window"]) if part)
    return f"{what}{'@' + limit['model'] if limit['model'] is not None else ''}={limit['amount']}"
