"""Checks one token against one key of its issuer. Pure: the time is an argument, so the times in a token are compared here."""

from datetime import UTC, datetime
from typing import Any, Final

import jwt

from proxy.identity import EXPIRED_TOKEN, Named
from proxy.oidc.rules import Rules, named
from proxy.ports import Refusal

_JWT: Final = jwt.PyJWT(options={"enforce_minimum_key_length": True})
_MAX_SECONDS: Final = 2**40


def invalid(reason: str) -> Refusal:
    """Return the refusal of a token that is not believed. `reason` must not be the token's own words."""
    return Refusal("invalid_api_key", f"The token is not valid here: {reason}.")


UNREADABLE: Final = invalid("it cannot be read")
NO_TENANT: Final = invalid("it names no tenant")


def is_token(shown: bytes) -> bool:
    """Whether this is a signed token rather than a key: three parts, the first of them a JSON object in base 64."""
    return shown.startswith(b"eyJ") and shown.count(b".") == 2


def key_id(token: str) -> str | Refusal | None:
    """Return the name of the key that a token says it is signed with; None: it names none."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError:
        return UNREADABLE
    return kid if kid is None or isinstance(kid, str) else UNREADABLE


def check(token: str, key: dict[str, Any], rules: Rules, now: datetime) -> Named | Refusal:
    """Return whom a token names, or why it is not believed. `key`: as the issuer publishes it (a JWK)."""
    algorithm = jwt.get_unverified_header(token).get("alg")
    if algorithm not in rules.algorithms or key.get("alg", algorithm) != algorithm:
        return invalid("its algorithm is not allowed")
    try:
        claims = _JWT.decode(
            token,
            jwt.PyJWK(key, algorithm=algorithm),
            algorithms=list(rules.algorithms),
            audience=rules.audiences,
            issuer=rules.issuer,
            options={
                "require": ["exp", "iss", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.PyJWTError as error:
        return _refusal(error)
    return _in_time(claims, rules, now)


def _in_time(claims: dict[str, Any], rules: Rules, now: datetime) -> Named | Refusal:
    ends, begins = _moment(claims["exp"]), _moment(claims.get("nbf", 0))
    if ends is None or begins is None:
        return UNREADABLE
    if now < begins - rules.leeway:
        return invalid("its time has not come yet")
    if now >= ends + rules.leeway:
        return EXPIRED_TOKEN
    return named(claims, rules, ends + rules.leeway) or NO_TENANT


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_SECONDS:
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError):
        return None


def _refusal(error: jwt.PyJWTError) -> Refusal:
    match error:
        case jwt.InvalidAudienceError():
            return invalid("it is meant for somebody else (aud)")
        case jwt.InvalidIssuerError():
            return invalid("it is another issuer's (iss)")
        case jwt.MissingRequiredClaimError():
            return invalid("a claim is missing of exp, iss and aud")
        case jwt.InvalidSignatureError() | jwt.InvalidKeyError() | jwt.PyJWKError() | jwt.InvalidAlgorithmError():
            return invalid("its signature does not fit")
        case _:
            return UNREADABLE
