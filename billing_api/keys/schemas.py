"""Bodies and answers of keys."""

import ipaddress
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictInt, StrictStr, StringConstraints

from billing_api.keys.models import Key
from billing_api.paging import Listing
from billing_api.wire import KEY_FORM, Body, Id, Moment, Name, Tags, View


def _network(address: str) -> str:
    return str(ipaddress.ip_network(address))


Secret = Annotated[StrictStr, StringConstraints(pattern=KEY_FORM)]
Names = Annotated[list[Name], Field(max_length=256)]
Networks = Annotated[list[Annotated[StrictStr, AfterValidator(_network)]], Field(max_length=256)]


class KeyIn(Body):
    """A new key. With `secret`, a key that clients already have is imported. Null in a list: no restriction."""

    tenant: Id
    team: Id | None = None
    user: Id | None = None
    name: Name = "key"
    environment: Literal["live", "test"] = "live"
    secret: Secret | None = Field(default=None, repr=False, description="16 to 512 printable ASCII characters")
    tags: Tags = Field(default_factory=dict)
    plan: Id | None = None
    models: Names | None = None
    endpoints: Names | None = None
    addresses: Networks | None = Field(default=None, description="addresses or networks, such as 10.0.0.0/8")
    expires_at: Moment | None = None


class KeyPatch(Body):
    """Fields to change; those left out stay. Null clears what may be null."""

    name: Name = ""
    tags: Tags = Field(default_factory=dict)
    plan: Id | None = None
    models: Names | None = None
    endpoints: Names | None = None
    addresses: Networks | None = None
    expires_at: Moment | None = None


class KeyQuery(Listing):
    """Filters of a list of keys."""

    tenant: Id | None = None
    team: Id | None = None
    user: Id | None = None


class Rotation(Body):
    """For how long the old key goes on beside the new one."""

    overlap_seconds: Annotated[StrictInt, Field(ge=0, le=366 * 86400)] = 0


class KeyView(View):
    """A key, without its secret."""

    id: str
    tenant: str
    team: str | None
    user: str | None
    name: str
    status: Literal["active", "expired", "revoked"]
    hint: str
    imported: bool
    replaces: str | None
    tags: dict[str, str]
    plan: str | None
    models: list[str] | None
    endpoints: list[str] | None
    addresses: list[str] | None
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None


class KeyCreated(KeyView):
    """A key with its secret, shown this once. Null: the key was imported, and whoever imported it has it."""

    secret: str | None = Field(repr=False)


def shown(row: Key, now: datetime) -> dict[str, Any]:
    """Return the fields of a key as they are shown at `now`."""
    if row.revoked_at is not None:
        status = "revoked"
    else:
        status = "expired" if row.expires_at is not None and row.expires_at <= now else "active"
    names = [name for name in KeyView.model_fields if name != "status"]
    return {**{name: getattr(row, name) for name in names}, "status": status}
