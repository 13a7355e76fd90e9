"""`weighbridge.prompt.v1`: what was asked and answered, of tenants whose policy says that it is recorded. Nobody else's."""

import msgspec

from contracts.events import Moment, Name, Outcome, Text


class PromptData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A copy of one request's body and of its answer's, as the client sent and got them; `request_id` joins the other events.

    A body that is no UTF-8 is absent. It has no sequence: copies are not billed by, and may be lost.
    """

    producer: Name
    request_id: Name
    tenant: Name
    team: Name | None = None
    user: Name | None = None
    key: Name | None = None
    end_user: Text | None = None
    instance: Name
    model: Text | None = None
    endpoint: Text
    admitted_at: Moment | None = None
    status: int | None = None
    outcome: Outcome
    request: str | None = None
    request_truncated: bool = False
    response: str | None = None
    response_truncated: bool = False
