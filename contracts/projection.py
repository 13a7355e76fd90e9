"""What the billing service projects into Redis for the proxies, and how a record is found there.

Redis holds a copy that can be rebuilt from SQL at any time. Each record is a hash of `revision` (an integer that SQL gives,
an older one never replaces a newer one) and `record` (one of these structs as JSON). A thing that ends is not deleted but
stored as revoked or suspended, so that an older copy cannot bring it back.
"""

from datetime import datetime
from typing import Literal

import msgspec

from contracts.limits import LimitRecord, PlanRecord


class KeyRecord(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An API key, found by its digest (`contracts.keys.digest`). None in a list field: no restriction.

    `id` is empty where no key was shown: a proxy makes a record of what an identity provider's token says.
    """

    id: str
    tenant: str
    team: str | None = None
    user: str | None = None
    status: Literal["active", "revoked"] = "active"
    expires_at: datetime | None = None
    models: tuple[str, ...] | None = None
    endpoints: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    tags: dict[str, str] = {}
    plan: str | None = None
    limits: tuple[LimitRecord, ...] = ()
    revision: int


class SubjectRecord(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A tenant, team or user: whether it may send requests, and how its usage is labelled."""

    id: str
    tenant: str | None = None
    """Whose team or user it is."""
    external_id: str | None = None
    """What other systems call it: unique among tenants, and among a tenant's teams or users. See `redis_keys.external_id`."""
    status: Literal["active", "suspended"] = "active"
    time_zone: str = "UTC"
    tags: dict[str, str] = {}
    record_prompts: bool = False
    """Of a tenant: what is asked and answered is copied to `weighbridge.prompt.v1`."""
    plan: str | None = None
    """Its limits hold for the subject as a whole, beside its own `limits`, which replace the plan's of the same place."""
    limits: tuple[LimitRecord, ...] = ()
    revision: int


class Marker(msgspec.Struct, kw_only=True, frozen=True):
    """Says that the projection is whole up to `revision`. While it is missing, absence of a key means nothing."""

    revision: int
    rebuilt_at: datetime


encode = msgspec.json.encode
key_decoder = msgspec.json.Decoder(KeyRecord)
subject_decoder = msgspec.json.Decoder(SubjectRecord)
plan_decoder = msgspec.json.Decoder(PlanRecord)
marker_decoder = msgspec.json.Decoder(Marker)
