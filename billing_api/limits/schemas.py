"""Bodies and answers of limits."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictInt, model_validator

from billing_api.limits.models import Limit
from billing_api.paging import Listing
from billing_api.wire import Amount, Body, Id, Moment, Name, View
from contracts.limit_rules import flaw
from contracts.limits import Meter, Mode, OnOutage, Precision, WhenReached, Window

Percentages = Annotated[
    list[Annotated[StrictInt, Field(ge=1, le=1000)]],
    Field(max_length=10, description="percentages of the amount that raise an alert, once a period"),
    AfterValidator(sorted),
]


class Terms(Body):
    """What is counted, over which window, and what happens at the amount. A limit of concurrency has no window."""

    meter: Meter
    window: Window | None = None
    amount: Amount = Field(description="a whole number; of cost, an amount in the tenant's currency")
    precision: Precision = "strict"
    mode: Mode = "enforce"
    on_outage: OnOutage = "deny"
    notify_at: Percentages = Field(default_factory=lambda: [50, 80, 100])
    when_reached: WhenReached = "block"
    degrade_to: Name | None = Field(default=None, description="the model that answers instead, with `degrade`")

    @property
    def of_model(self) -> str | None:
        """The model whose use is counted; None: of all models together."""
        return None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        wrong = flaw(
            meter=self.meter,
            window=self.window,
            amount=self.amount,
            precision=self.precision,
            notify_at=self.notify_at,
            when_reached=self.when_reached,
            degrade_to=self.degrade_to,
            model=self.of_model,
        )
        if wrong is not None:
            raise ValueError(": ".join(wrong))
        return self


class PlanLimit(Terms):
    """A limit of a plan: each subject that has the plan has its own count. `model` null: all models together."""

    model: Name | None = None

    @property
    def of_model(self) -> str | None:
        """The model whose use is counted."""
        return self.model


class LimitSubject(Body):
    """Whose use is limited: a tenant, or one of its teams, users or keys; of one model, or of all together.

    With a team, user or key, its tenant may be left out.
    """

    tenant: Id | None = None
    team: Id | None = None
    user: Id | None = None
    key: Id | None = None
    model: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        narrow = [part for part in (self.team, self.user, self.key) if part is not None]
        if len(narrow) > 1:
            raise ValueError("give one of team, user and key: each has limits of its own")
        if self.tenant is None and not narrow:
            raise ValueError("give a tenant, team, user or key")
        return self


class LimitIn(Terms):
    """A new limit."""

    subject: LimitSubject

    @property
    def of_model(self) -> str | None:
        """The model whose use is counted."""
        return self.subject.model


class LimitPatch(Body):
    """Fields to change; those left out stay. Subject, meter and window cannot change: that is another limit."""

    amount: Amount = Decimal(0)
    precision: Precision = "strict"
    mode: Mode = "enforce"
    on_outage: OnOutage = "deny"
    notify_at: Percentages = Field(default_factory=lambda: [50, 80, 100])
    when_reached: WhenReached = "block"
    degrade_to: Name | None = None


class LimitQuery(Listing):
    """Filters of a list of limits. `tenant` finds those of its teams, users and keys too; plans' are listed by `plan` alone."""

    tenant: Id | None = None
    team: Id | None = None
    user: Id | None = None
    key: Id | None = None
    plan: Id | None = None
    model: Name | None = None
    meter: Meter | None = None
    window: Window | None = None


class SubjectView(View):
    """Whose use is limited."""

    tenant: str | None = None
    team: str | None = None
    user: str | None = None
    key: str | None = None
    model: str | None = None


class TermsView(View):
    """What is counted, over which window, and what happens at the amount."""

    id: str
    meter: Meter
    window: Window | None
    amount: Amount
    precision: Precision
    mode: Mode
    on_outage: OnOutage
    notify_at: list[int]
    when_reached: WhenReached
    degrade_to: str | None


class PlanLimitView(TermsView):
    """A limit of a plan."""

    model: str | None


class LimitView(TermsView):
    """A limit of a subject, or of a plan: then `subject` holds a model at most."""

    subject: SubjectView
    plan: str | None
    created_at: Moment
    updated_at: Moment


def shown(row: Limit) -> LimitView:
    """Return a limit as it is shown."""
    plain = {name: getattr(row, name) for name in LimitView.model_fields if name not in {"subject", "plan"}}
    whose = {"tenant": row.tenant, "model": row.model}
    if row.kind != "plan":
        whose[row.kind] = row.holder
    plan = row.holder if row.kind == "plan" else None
    return LimitView(subject=SubjectView(**whose), plan=plan, **plain)
