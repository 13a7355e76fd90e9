"""Answers of the audit."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from billing_api.paging import Listing
from billing_api.usage.schemas import Values
from billing_api.wire import Moment, Name, View
from contracts.events import Decision


class ActionQuery(Listing):
    """Filters of the list of acts."""

    actor: Name | None = None
    action: Name | None = None
    target: Name | None = None
    start: Moment | None = Field(default=None, alias="from")
    end: Moment | None = Field(default=None, alias="to")


class RequestQuery(Listing):
    """Which requests to find; a filter given several times lets each value pass."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: Moment = Field(alias="from")
    end: Moment | None = Field(default=None, alias="to", description="default: the end of this minute")
    tenant: Values = Field(default_factory=list)
    team: Values = Field(default_factory=list)
    user: Values = Field(default_factory=list)
    key: Values = Field(default_factory=list)
    end_user: Values = Field(default_factory=list)
    model: Values = Field(default_factory=list)
    endpoint: Values = Field(default_factory=list)
    instance: Values = Field(default_factory=list)
    decision: list[Decision] = Field(default_factory=list)
    code: Values = Field(default_factory=list)
    request_id: Values = Field(default_factory=list)
    client_address: Values = Field(default_factory=list)
    status: list[Annotated[int, Field(ge=100, le=599)]] = Field(default_factory=list, max_length=100)

    @property
    def filters(self) -> dict[str, list[str] | list[int]]:
        """Allowed values by column, but for `status`, which a request event alone does not know."""
        names = set(type(self).model_fields) - {"limit", "cursor", "start", "end", "status"}
        return {name: getattr(self, name) for name in sorted(names) if getattr(self, name)}


class ActionView(View):
    """One act of an admin. `details` are the fields as they were sent, without secrets."""

    id: str
    at: Moment
    actor: str
    action: str
    target: str
    request_id: str
    details: dict[str, Any]
