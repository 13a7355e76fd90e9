"""Which tokens are believed, and whom their claims name. Pure."""

from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from proxy.identity import Named

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures of a key pair. With a shared secret (HS…) whoever can check a token could make one; `none` is no signature."""
MAX_NAME: Final = 200
"""Characters of an external id; what is longer names nobody."""
MAX_TEAMS: Final = 200


class Rules(msgspec.Struct, frozen=True):
    """As the settings say. `tenant`: whose the tokens are that name none."""

    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[Algorithm, ...]
    tenant_claim: str
    team_claim: str
    user_claim: str
    tenant: str | None
    unknown_users: Literal["allow", "deny"]
    leeway: timedelta


def named(claims: dict[str, Any], rules: Rules, expires_at: datetime) -> Named | None:
    """Return whom the claims of a valid token name; None: no tenant."""
    tenants = _texts(claim(claims, rules.tenant_claim)) or ((rules.tenant,) if rules.tenant is not None else ())
    users = _texts(claim(claims, rules.user_claim))
    if not tenants:
        return None
    return Named(
        tenant=tenants[0],
        teams=_texts(claim(claims, rules.team_claim))[:MAX_TEAMS],
        user=users[0] if users else None,
        expires_at=expires_at,
        user_required=rules.unknown_users == "deny",
    )


def claim(claims: dict[str, Any], name: str) -> object:
    """Return a claim by its name, or by its way through objects: `realm_access.roles`; None: there is none."""
    if name in claims:  # names may have dots: `https://example.com/tenant`
        return claims[name]
    found: object = claims
    for step in name.split("."):
        if not isinstance(found, dict) or step not in found:
            return None
        found = found[step]
    return found


def _texts(value: object) -> tuple[str, ...]:
    """Return a text, or each text of a list."""
    values = value if isinstance(value, list) else [value]
    return tuple(each for each in values if isinstance(each, str) and 0 < len(each) <= MAX_NAME)
