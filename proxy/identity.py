"""Who a key stands for, whether they may send requests, and what they are held to: pure, from the records that Redis holds."""

from datetime import datetime
from typing import Final

import msgspec

from contracts.limits import Held, PlanRecord, SubjectKind, of_subject
from contracts.projection import KeyRecord, SubjectRecord
from proxy.ports import Principal, Refusal

INVALID: Final = Refusal("invalid_api_key", "The API key is not known. Check it, or ask for a new one.")
EXPIRED: Final = Refusal("expired_api_key", "The API key has expired.")
EXPIRED_TOKEN: Final = Refusal("expired_api_key", "The token has expired. Get a new one from your identity provider.")
UNKNOWN_TENANT: Final = Refusal("invalid_api_key", "The token is valid, but its tenant is not known here.")
UNKNOWN_USER: Final = Refusal("invalid_api_key", "The token is valid, but its user is not known here.")
UNAVAILABLE: Final = Refusal(
    "limits_unavailable", "Whether this API key may be used cannot be found out now. Try again later."
)
SUSPENDED: Final = {
    kind: Refusal(f"{kind}_suspended", f"The {kind} of this API key is suspended.")
    for kind in ("tenant", "team", "user")
}


class Named(msgspec.Struct, frozen=True):
    """Whom an identity provider's token names, by ids of ours or by external ids.

    Of `teams`, the first that the tenant has counts. `user_required`: a user that the tenant does not have is refused.
    """

    tenant: str
    teams: tuple[str, ...]
    user: str | None
    expires_at: datetime
    user_required: bool = False


class Identity(msgspec.Struct, frozen=True):
    """A key's record, those of its tenant, team and user, and the plans of all four by id.

    `digest` is what the key is stored under; empty: a token stands in its place.
    """

    digest: str
    key: KeyRecord
    tenant: SubjectRecord
    team: SubjectRecord | None = None
    user: SubjectRecord | None = None
    plans: dict[str, PlanRecord] = {}

    @property
    def subjects(self) -> "list[tuple[SubjectKind, SubjectRecord | KeyRecord]]":
        """Who is held to limits, from the widest to the narrowest (`contracts.limits.LEVELS`)."""
        found: list[tuple[SubjectKind, SubjectRecord | KeyRecord]] = [("tenant", self.tenant)]
        if self.team is not None:
            found.append(("team", self.team))
        if self.user is not None:
            found.append(("user", self.user))
        found.append(("key", self.key))
        return found

    def concerns(self, name: str) -> bool:
        """Whether the answer depends on the record of that name: a digest, or the id of a tenant, team, user or plan."""
        return name in (self.digest, self.key.tenant, self.key.team, self.key.user) or name in self.plans


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
    who = _principal(identity, tags | identity.key.tags)
    if identity.key.status != "active":
        return refusal_of(INVALID, who)
    if identity.key.expires_at is not None and now >= identity.key.expires_at:
        return refusal_of(EXPIRED, who)
    return who if suspended is None else refusal_of(suspended, who)


def _principal(identity: Identity, tags: dict[str, str]) -> Principal:
    """Return who it is, with the limits of all levels.

    Every plan's models and cap hold. The narrowest plan says how urgent requests are, the tenant's what its share of a busy
    instance is: shares are tenants'.
    """
    limits: list[Held] = []
    models: list[frozenset[str]] = []
    cap: int | None = None
    told = Principal(identity.key, tags)
    priority, weight = told.priority, told.weight
    for kind, subject in identity.subjects:
        plan = identity.plans[subject.plan] if subject.plan is not None else None
        limits += of_subject(kind, subject.id, subject.limits, plan)
        if plan is None:
            continue
        priority = plan.priority
        if kind == "tenant":
            weight = plan.weight
        if plan.models is not None:
            models.append(frozenset(plan.models))
        if plan.max_tokens is not None:
            cap = plan.max_tokens if cap is None else min(cap, plan.max_tokens)
    zone, copied = identity.tenant.time_zone, identity.tenant.record_prompts
    return Principal(identity.key, tags, tuple(limits), zone, tuple(models), cap, priority, weight, copied)


def refusal_of(refusal: Refusal, who: Principal | None) -> Refusal:
    """Return a refusal that says whose key it is."""
    return Refusal(refusal.code, refusal.message, who)
