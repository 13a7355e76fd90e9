"""Queries and answers about usage."""

import re
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from billing_api.paging import Listing
from billing_api.usage.windows import Bucket
from billing_api.wire import Moment, Name, Precise, View, Zone
from contracts import tables

GROUPS: Final = (*tables.GROUPS, "end_user")
_TAG: Final = re.compile(r"tags\.[A-Za-z0-9_.-]{1,64}", re.ASCII)


def _split(value: Any) -> Any:
    """Take `a,b` for `a` and `b`, as a query often writes a list."""
    if isinstance(value, list):
        return [part for item in value for part in (item.split(",") if isinstance(item, str) else [item])]
    return value


Values = Annotated[list[Name], Field(max_length=1000)]


class UsageFilters(Listing):
    """A window `[from, to)`, and filters by group; a filter given several times lets each value pass. `tags.X` filters too."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

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
    outcome: Values = Field(default_factory=list)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name in self.model_extra or {}:
            if not _TAG.fullmatch(name):
                raise ValueError(f"{name!r} is no filter; filters are {', '.join(GROUPS)} and tags.X")
        return self

    @property
    def filters(self) -> dict[str, list[str]]:
        """Allowed values by column."""
        given = {name: getattr(self, name) for name in GROUPS if getattr(self, name)}
        for name, value in (self.model_extra or {}).items():
            given[name] = value if isinstance(value, list) else [value]
        return given


class UsageQuery(UsageFilters):
    """What to add up, and how to cut it."""

    bucket: Bucket | None = Field(default=None, description="default: the whole window is one bucket")
    time_zone: Zone | None = Field(
        default=None, description="default: the tenant's, if one tenant is asked for, else UTC"
    )
    group_by: Annotated[list[str], BeforeValidator(_split), Field(max_length=8)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _known_groups(self) -> Self:
        for name in self.group_by:
            if name not in GROUPS and not _TAG.fullmatch(name):
                raise ValueError(f"group_by takes {', '.join(GROUPS)} and tags.X, not {name!r}")
        if len(set(self.group_by)) < len(self.group_by):
            raise ValueError("group_by names the same group twice")
        return self


class UsageRow(View):
    """Sums of one bucket and group. Null: no request reported it; `billed_cost` null: some of it has no price."""

    bucket_start: Moment
    bucket_end: Moment
    group: dict[str, str | None]
    requests: int
    input_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    output_tokens: int | None
    reasoning_output_tokens: int | None
    estimated_requests: int
    billed_cost: Precise | None
    currency: str | None


class Envelope(View):
    """When the ledger was asked, and what it is known to lack.

    `complete_until`: up to when nothing can be missing; null where that is not known. `missing_events`: events that producers
    have numbered and the ledger has not got.
    """

    as_of: Moment
    complete_until: Moment | None
    missing_events: int


class UsagePage(Envelope):
    """Rows in the order of bucket and group."""

    data: list[UsageRow]
    next_cursor: str | None


class EventQuery(UsageFilters):
    """Which events to list."""


class EventPage(View):
    """Events as the ledger holds them, newest first: the fields of the event's data and of its envelope."""

    data: list[dict[str, Any]]
    next_cursor: str | None
