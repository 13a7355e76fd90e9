"""Who a key stands for, and whether they may send requests: pure, from the records that Redis holds."""

from datetime import datetime
from typing import Final

import msgspec

from contracts.projection import KeyRecord, SubjectRecord
from proxy.ports import Principal, Refusal

INVALID: Final = Refusal("invalid_api_key", "The API key is not known. Check it, or ask for a new one.")
EXPIRED: Final = Refusal("expired_api_key", "The API key has expired.")
UNAVAILABLE: Final = Refusal(
    "limits_unavailable", "Whether this API key may be used cannot be found out now. Try again later."
)
SUSPENDED: Final = {
    kind: Refusal(f"{kind}_suspended", f"The {kind} of this API key is suspended.")
    for kind in ("tenant", "team", "user")
}


class Identity(msgspec.Struct, frozen=True):
    """A key's record and those of its tenant, team and user. `digest` is what the key is stored under."""

    digest: str
    key: KeyRecord
    tenant: SubjectRecord
    team: SubjectRecord | None = None
    user: SubjectRecord | None = None

    def concerns(self, name: str) -> bool:
        """Whether the answer depends on the record of that name: a digest, or the id of a tenant, team or user."""
        return name in (self.digest, self.key.tenant, self.key.team, self.key.user)


def judge(identity: Identity, now: datetime) -> Principal | Refusal:
    """Say who sends a request with this key at `now`, or why it is refused."""
    tags: dict[str, str] = {}
    suspended: Refusal | None = None
    for kind, subject in (("tenant", identity.tenant), ("team", identity.team), ("user", identity.user)):
        if subject is None:
            continue
        if subject.status != "active" and suspended is None:
            suspended = SUSPENDED[kind]
        tags.update(subject.tags)
    who = Principal(identity.key, tags | identity.key.tags)
    if identity.key.status != "active":
        return refusal_of(INVALID, who)
    if identity.key.expires_at is not None and now >= identity.key.expires_at:
        return refusal_of(EXPIRED, who)
    return who if suspended is None else refusal_of(suspended, who)


def refusal_of(refusal: Refusal, who: Principal | None) -> Refusal:
    """Return a refusal that says whose key it is."""
    return Refusal(refusal.code, refusal.message, who)
