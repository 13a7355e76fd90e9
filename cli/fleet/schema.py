"""What a fleet file may hold. A field that is left out has its default, but for `status` and `external_id`, which stay."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contracts import money
from contracts.limit_rules import MOST_OF_ONE, flaw
from contracts.limits import Meter, Mode, OnOutage, Precision, Priority, WhenReached, Window
from contracts.rating import METERS, Price


def _text(value: Any) -> Any:
    """Take a number for its digits: `name: 2026`."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _amount(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else money.parse(_text(value))


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no time zone of the IANA database, such as Europe/Berlin") from None
    return name


def _currency(code: str) -> str:
    money.minor_digits(code)
    return code


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("a time is RFC 3339, such as 2026-11-01T00:00:00Z") from None
    return value


def _tag(name: str) -> str:
    if re.fullmatch("[A-Za-z0-9_.-]{1,64}", name) is None:
        raise ValueError("the name of a tag has 1 to 64 letters, digits, dots, dashes and underscores")
    return name


def _meter(name: str) -> str:
    if name not in METERS:
        raise ValueError(f"one of {', '.join(METERS)}")
    return name


Name = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=200)]
Amount = Annotated[Decimal, BeforeValidator(_amount)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Tags = dict[Annotated[str, AfterValidator(_tag)], Annotated[str, BeforeValidator(_text), Field(max_length=256)]]


class Part(BaseModel):
    """A part of the file; a field that nobody knows is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitPart(Part):
    """A limit of whatever it stands in."""

    model: Name | None = None
    meter: Meter
    window: Window | None = None
    amount: Amount
    precision: Precision = "strict"
    mode: Mode = "enforce"
    on_outage: OnOutage = "deny"
    notify_at: list[Annotated[int, Field(ge=1, le=1000)]] = Field(default=[50, 80, 100], max_length=10)
    when_reached: WhenReached = "block"
    degrade_to: Name | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        wrong = flaw(**{name: getattr(self, name) for name in type(self).model_fields if name not in _UNJUDGED})
        if wrong is not None:
            raise ValueError(": ".join(wrong))
        return self


_UNJUDGED = frozenset({"mode", "on_outage"})
Limits = Annotated[list[LimitPart], Field(default=[], max_length=MOST_OF_ONE)]


class PlanPart(Part):
    """A plan, found by its name."""

    name: Name
    limits: Limits
    models: list[Name] | None = None
    priority: Priority = "interactive"
    weight: int = Field(default=100, ge=1, le=10_000)
    max_tokens: int | None = Field(default=None, ge=1, le=10**9)


class SubjectPart(Part):
    """What tenants, teams and users share. Found by `external_id`, else by name."""

    name: Name
    external_id: Name | None = None
    status: Literal["active", "suspended"] | None = None
    plan: Name | None = None
    tags: Tags = Field(default={}, max_length=16)
    cost_center: Name | None = None
    limits: Limits


class UserPart(SubjectPart):
    """A user; `team` is the name of one of the tenant's teams."""

    team: Name | None = None


class TenantPart(SubjectPart):
    """A tenant with its teams and users."""

    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    currency: Annotated[str, AfterValidator(_currency)] | None = None
    teams: list[SubjectPart] = []
    users: list[UserPart] = []


class PricePart(Part):
    """What `per` units cost."""

    model: Name = "*"
    meter: Annotated[str, AfterValidator(_meter)]
    per: int = 1_000_000
    price: Amount

    @model_validator(mode="after")
    def _can_be_rated(self) -> Self:
        Price("price", self.model, self.meter, self.per, self.price)
        return self


class BookPart(Part):
    """A price book, found by its name and tenant. It never changes; only its end may be set."""

    name: Name
    currency: Annotated[str, AfterValidator(_currency)]
    effective_from: Moment
    effective_to: Moment | None = None
    tenant: Name | None = None
    prices: list[PricePart] = Field(min_length=1, max_length=2000)


class Fleet(Part):
    """The whole file."""

    plans: list[PlanPart] = []
    tenants: list[TenantPart] = []
    price_books: list[BookPart] = []
