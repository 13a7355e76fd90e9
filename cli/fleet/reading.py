"""From a file to a fleet: everything that can be known to be wrong without asking anybody, with its line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cli.fleet.document import Document, Place
from cli.fleet.schema import Fleet, LimitPart

Flaw = tuple[Place, str]


def read(file: Path) -> tuple[Document, Fleet]:
    """Return a file and what it says; raises CommandError that names line and field of what is wrong."""
    document = Document(file)
    try:
        fleet = Fleet.model_validate({} if document.value is None else document.value)
    except ValidationError as error:
        raise document.wrong([_said(details["loc"], details) for details in error.errors()]) from None
    if flaws := list(_contradictions(fleet)):
        raise document.wrong(flaws)
    return document, fleet


def _said(location: Place, details: Any) -> Flaw:
    if details["type"] == "extra_forbidden":
        return location, "there is no such field"
    if details["type"] == "model_type":
        return location, "fields with values belong here"
    return location, str(details["msg"]).removeprefix("Value error, ")


def _contradictions(fleet: Fleet) -> Iterator[Flaw]:
    """Yield what is written twice, or does not go together."""
    yield from _twice([("plans", number, "name") for number in range(len(fleet.plans))], [p.name for p in fleet.plans])
    for number, plan in enumerate(fleet.plans):
        yield from _same_limits(("plans", number), plan.limits)
    for kind, subjects, within in _groups(fleet):
        places = [(*within, kind, number) for number in range(len(subjects))]
        yield from _twice(places, [subject.external_id or f"name {subject.name}" for subject in subjects])
        for place, subject in zip(places, subjects, strict=True):
            yield from _same_limits(place, subject.limits)
    for number, tenant in enumerate(fleet.tenants):
        teams = {name for team in tenant.teams for name in (team.name, team.external_id)}
        for each, user in enumerate(tenant.users):
            if user.team is not None and user.team not in teams:
                yield ("tenants", number, "users", each, "team"), f"the file has no team {user.team!r} of {tenant.name}"
    for number, book in enumerate(fleet.price_books):
        at: Place = ("price_books", number)
        names = [(price.model, price.meter) for price in book.prices]
        yield from _twice([(*at, "prices", each) for each in range(len(names))], names)
        if book.effective_to is not None and book.effective_to <= book.effective_from:
            yield (*at, "effective_to"), "later than effective_from, please"
        payer = next((tenant for tenant in fleet.tenants if book.tenant in {tenant.external_id, tenant.name}), None)
        if book.tenant is not None and payer is not None and (payer.currency or "EUR") != book.currency:
            yield (*at, "currency"), f"{book.tenant} pays in {payer.currency or 'EUR'}"


def _groups(fleet: Fleet) -> Iterator[tuple[str, Sequence[Any], Place]]:
    """Yield each list of subjects, its name, and where it stands."""
    yield "tenants", fleet.tenants, ()
    for number, tenant in enumerate(fleet.tenants):
        yield "teams", tenant.teams, ("tenants", number)
        yield "users", tenant.users, ("tenants", number)


def _same_limits(place: Place, limits: Sequence[LimitPart]) -> Iterator[Flaw]:
    places = [(*place, "limits", number) for number in range(len(limits))]
    return _twice(places, [(limit.model, limit.meter, limit.window) for limit in limits])


def _twice(places: Sequence[Place], names: Sequence[Any]) -> Iterator[Flaw]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield places[number], "this is there already, further up"
