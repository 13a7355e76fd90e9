"""What a fleet file asks for, as a list of things in the order in which they can be made. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cli.client import Json
from cli.fleet.document import Place
from cli.fleet.schema import BookPart, Fleet, LimitPart, PlanPart, SubjectPart, TenantPart, UserPart
from contracts import money
from contracts.clock import rfc3339

PATHS: Final = {
    "plan": "/v1/plans",
    "tenant": "/v1/tenants",
    "team": "/v1/teams",
    "user": "/v1/users",
    "limit": "/v1/limits",
    "price book": "/v1/price-books",
}
"""Where the API has each kind."""


class Ref(NamedTuple):
    """Stands for the id of another thing: of that at a place of the file, or of one that only the API has, by its name."""

    kind: str
    place: Place | None
    name: str


@dataclass(frozen=True)
class Thing:
    """Something that should be there. `fields` can be changed, `fixed` only be given; both may hold a `Ref` for an id."""

    kind: str
    place: Place
    name: str
    fields: Json
    fixed: Json

    @property
    def label(self) -> str:
        """What it is called where differences are printed."""
        return f"{self.kind} {self.name}"


def things(fleet: Fleet) -> list[Thing]:
    """Return everything that a file asks for: what others refer to comes first."""
    found = [_plan(number, plan) for number, plan in enumerate(fleet.plans)]
    tenants = [(("tenants", number), tenant) for number, tenant in enumerate(fleet.tenants)]
    found += [_tenant(fleet, place, tenant) for place, tenant in tenants]
    for place, tenant in tenants:
        found += _members(fleet, place, tenant)
    for place, tenant in tenants:
        found += _limits("tenant", place, tenant.name, tenant.limits)
        for kind, members in (("team", tenant.teams), ("user", tenant.users)):
            for number, member in enumerate(members):
                found += _limits(kind, (*place, f"{kind}s", number), f"{tenant.name}/{member.name}", member.limits)
    return [*found, *(_book(fleet, number, book) for number, book in enumerate(fleet.price_books))]


def terms(limit: LimitPart) -> Json:
    """Return what may change of a limit, as the API has it."""
    plain = limit.model_dump(exclude={"model", "meter", "window"})
    return {**plain, "amount": money.render(limit.amount), "notify_at": sorted(limit.notify_at)}


def short(limit: LimitPart) -> str:
    """Return meter, window and model as `--limit` of a plan takes them."""
    window = f"/{limit.window}" if limit.window else ""
    return f"{limit.meter}{window}{f'@{limit.model}' if limit.model is not None else ''}"


def _plan(number: int, plan: PlanPart) -> Thing:
    limits = [{"model": each.model, "meter": each.meter, "window": each.window, **terms(each)} for each in plan.limits]
    fields = plan.model_dump(include={"name", "models", "priority", "weight", "max_tokens"})
    return Thing("plan", ("plans", number), plan.name, {**fields, "limits": limits}, {})


def _subject(fleet: Fleet, part: SubjectPart) -> Json:
    fields: Json = {"name": part.name, "tags": part.tags, "cost_center": part.cost_center, "plan": None}
    if part.plan is not None:
        places: list[Place] = [("plans", number) for number, plan in enumerate(fleet.plans) if plan.name == part.plan]
        fields["plan"] = Ref("plan", places[0] if places else None, part.plan)
    stay = {"status": part.status, "external_id": part.external_id}
    return fields | {name: value for name, value in stay.items() if value is not None}


def _tenant(fleet: Fleet, place: Place, tenant: TenantPart) -> Thing:
    fields = {**_subject(fleet, tenant), "time_zone": tenant.time_zone}
    fixed = {} if tenant.currency is None else {"currency": tenant.currency}
    return Thing("tenant", place, tenant.name, fields, fixed)


def _members(fleet: Fleet, place: Place, tenant: TenantPart) -> Iterator[Thing]:
    owner = {"tenant": Ref("tenant", place, tenant.name)}
    for number, team in enumerate(tenant.teams):
        yield Thing("team", (*place, "teams", number), f"{tenant.name}/{team.name}", _subject(fleet, team), owner)
    for number, user in enumerate(tenant.users):
        fields = {**_subject(fleet, user), "team": _team(place, tenant, user)}
        yield Thing("user", (*place, "users", number), f"{tenant.name}/{user.name}", fields, owner)


def _team(place: Place, tenant: TenantPart, user: UserPart) -> Ref | None:
    for number, team in enumerate(tenant.teams):
        if user.team is not None and user.team in {team.external_id, team.name}:
            return Ref("team", (*place, "teams", number), user.team)
    return None


def _limits(kind: str, holder: Place, name: str, limits: Sequence[LimitPart]) -> Iterator[Thing]:
    for number, limit in enumerate(limits):
        subject = {kind: Ref(kind, holder, name), "model": limit.model}
        fixed = {"subject": subject, "meter": limit.meter, "window": limit.window}
        yield Thing("limit", (*holder, "limits", number), f"{short(limit)} of {kind} {name}", terms(limit), fixed)


def _book(fleet: Fleet, number: int, book: BookPart) -> Thing:
    tenant = None
    if book.tenant is not None:
        payers = [at for at, payer in enumerate(fleet.tenants) if book.tenant in {payer.external_id, payer.name}]
        tenant = Ref("tenant", ("tenants", payers[0]) if payers else None, book.tenant)
    prices = [
        {"model": each.model, "meter": each.meter, "per": each.per, "price": money.render(each.price)}
        for each in book.prices
    ]
    fixed = {
        "tenant": tenant,
        "currency": book.currency,
        "effective_from": rfc3339(book.effective_from),
        "prices": prices,
    }
    end = None if book.effective_to is None else rfc3339(book.effective_to)
    return Thing("price book", ("price_books", number), book.name, {"name": book.name, "effective_to": end}, fixed)
