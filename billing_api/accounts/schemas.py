"""Bodies and answers of tenants, teams and users."""

from typing import Literal

from pydantic import Field

from billing_api.accounts.models import Status
from billing_api.paging import Listing
from billing_api.wire import Body, Currency, Id, Moment, Name, Tags, View, Zone


class SubjectIn(Body):
    """What every new subject may carry."""

    name: Name
    tags: Tags = Field(default_factory=dict)
    plan: Id | None = None
    cost_center: Name | None = None
    external_id: Name | None = None


class TenantIn(SubjectIn):
    """A new tenant. The currency cannot be changed later: prices and invoices hang on it."""

    time_zone: Zone = "UTC"
    currency: Currency = "EUR"
    record_prompts: bool = False


class TeamIn(SubjectIn):
    """A new team."""

    tenant: Id


class UserIn(SubjectIn):
    """A new user."""

    tenant: Id
    team: Id | None = None


class SubjectPatch(Body):
    """Fields to change; those left out stay. Null clears what may be null."""

    name: Name = ""
    status: Literal["active", "suspended"] = "active"
    tags: Tags = Field(default_factory=dict)
    plan: Id | None = None
    cost_center: Name | None = None
    external_id: Name | None = None


class SubjectQuery(Listing):
    """Filters of a list of subjects; deleted ones are left out unless asked for."""

    status: Status | None = None
    external_id: Name | None = None
    name: Name | None = None
    plan: Id | None = None


class MemberQuery(SubjectQuery):
    """Filters of a list of teams or users."""

    tenant: Id | None = None


class TenantPatch(SubjectPatch):
    """Changes of a tenant. `record_prompts`: what it asks and is answered is copied to Kafka, for audits."""

    time_zone: Zone = "UTC"
    record_prompts: bool = False


class UserPatch(SubjectPatch):
    """Changes of a user."""

    team: Id | None = None


class SubjectView(View):
    """What every subject shows."""

    id: str
    name: str
    status: Status
    tags: dict[str, str]
    plan: str | None
    cost_center: str | None
    external_id: str | None
    created_at: Moment
    updated_at: Moment


class TenantView(SubjectView):
    """A tenant."""

    time_zone: str
    currency: str
    record_prompts: bool


class TeamView(SubjectView):
    """A team."""

    tenant: str


class UserView(SubjectView):
    """A user."""

    tenant: str
    team: str | None
