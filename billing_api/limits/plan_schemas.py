"""Bodies and answers of plans."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictInt

from billing_api.limits.models import place
from billing_api.limits.schemas import PlanLimit, PlanLimitView
from billing_api.paging import Listing
from billing_api.wire import Body, Moment, Name, View
from contracts.limit_rules import MOST_OF_ONE
from contracts.limits import Priority


def _each_once(limits: list[PlanLimit]) -> list[PlanLimit]:
    places = [place(limit.model, limit.meter, limit.window) for limit in limits]
    if len(set(places)) < len(places):
        raise ValueError("two limits of the same model, meter and window")
    return limits


Models = Annotated[list[Name], Field(max_length=256)]
Limits = Annotated[list[PlanLimit], Field(max_length=MOST_OF_ONE), AfterValidator(_each_once)]
Weight = Annotated[StrictInt, Field(ge=1, le=10_000, description="share of a busy instance, against other tenants'")]
MaxTokens = Annotated[StrictInt, Field(ge=1, le=10**9, description="the most that one answer may have")]


class PlanIn(Body):
    """A new plan. `models` null: every model; `max_tokens` null: no cap."""

    name: Name
    limits: Limits = Field(default_factory=list)
    models: Models | None = None
    priority: Priority = "interactive"
    weight: Weight = 100
    max_tokens: MaxTokens | None = None


class PlanPatch(Body):
    """Fields to change; those left out stay. Null clears what may be null. `limits` replaces all limits of the plan."""

    name: Name = ""
    limits: Limits = Field(default_factory=list)
    models: Models | None = None
    priority: Priority = "interactive"
    weight: Weight = 100
    max_tokens: MaxTokens | None = None


class PlanQuery(Listing):
    """Filters of a list of plans; deleted ones are left out unless asked for."""

    name: Name | None = None
    status: Literal["active", "deleted"] | None = None


class PlanView(View):
    """A plan with its limits."""

    id: str
    name: str
    status: Literal["active", "deleted"]
    limits: list[PlanLimitView]
    models: list[str] | None
    priority: Priority
    weight: int
    max_tokens: int | None
    created_at: Moment
    updated_at: Moment
