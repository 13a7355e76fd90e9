"""Answers of the audit."""

from typing import Any

from pydantic import Field

from billing_api.paging import Listing
from billing_api.wire import Moment, Name, View


class ActionQuery(Listing):
    """Filters of the list of acts."""

    actor: Name | None = None
    action: Name | None = None
    target: Name | None = None
    start: Moment | None = Field(default=None, alias="from")
    end: Moment | None = Field(default=None, alias="to")


class ActionView(View):
    """One act of an admin. `details` are the fields as they were sent, without secrets."""

    id: str
    at: Moment
    actor: str
    action: str
    target: str
    request_id: str
    details: dict[str, Any]
