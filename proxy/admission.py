"""Who may send which request: a key's state, expiry, addresses, endpoints and models, in this order. Pure."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal

from contracts.events import UNASSIGNED
from contracts.projection import KeyRecord
from proxy.ports import Principal, Refusal

Enforce = Literal["on", "shadow", "off"]
"""What a refusal does: it denies the request, it is recorded, or nothing."""

INVALID_KEY: Final = Refusal(
    "invalid_api_key", "Incorrect API key provided, or none. Send it as `Authorization: Bearer …`."
)
ANONYMOUS: Final = Principal(KeyRecord(id=UNASSIGNED, tenant=UNASSIGNED, revision=0), {})
"""Who sends a request without a key that is known, where rules are not enforced."""
UNSALTED: Final = Refusal(
    "endpoint_not_allowed",
    "On this path vLLM does not keep what it caches of one tenant apart from others, so it is closed. "
    "The operator has closed it: WEIGHBRIDGE_UNSALTED=deny.",
)
MAX_TAGS: Final = 16
TAGS_HEADER: Final = b"x-weighbridge-tags"


def token(fields: Mapping[bytes, bytes]) -> bytes | None:
    """Return the API key that a request shows (`Authorization: Bearer` before `X-API-Key`), or None.

    `fields` are header fields by name in lower case.
    """
    authorization = fields.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip() or None
    return fields.get(b"x-api-key", b"").strip() or None


def check(key: KeyRecord, endpoint: str, model: str | None, address: str | None, now: datetime) -> Refusal | None:
    """Return why a key may not send this request, or None when it may."""
    if key.status != "active":
        return INVALID_KEY
    if key.expires_at is not None and now >= key.expires_at:
        return Refusal("expired_api_key", "This API key has expired.")
    if key.addresses is not None and not within(address, key.addresses):
        return Refusal("address_not_allowed", "This API key may not be used from your address.")
    if key.endpoints is not None and endpoint not in key.endpoints:
        return Refusal("endpoint_not_allowed", f"This API key may not use {endpoint}.")
    if key.models is not None and model not in key.models:
        return Refusal("model_not_allowed", f"This API key may not use the model `{model}`.")
    return None


def may(who: Principal, endpoint: str, model: str | None, address: str | None, now: datetime) -> Refusal | None:
    """Return why somebody may not send this request, or None when they may: what their key says, then their plans."""
    refusal = check(who.key, endpoint, model, address, now)
    if refusal is None and not all(model in models for models in who.plan_models):
        return Refusal("model_not_allowed", f"The plan of this API key does not include the model `{model}`.")
    return refusal


def tags(header: bytes | None, assigned: dict[str, str]) -> dict[str, str]:
    """Return a request's tags: at most 16, those assigned to key, user, team and tenant before the client's own."""
    if header is None:
        return assigned
    merged = dict(assigned)
    for pair in header.decode("utf-8", "replace").split(","):
        tag, equals, content = (part.strip() for part in pair.partition("="))
        if equals and 0 < len(tag) <= 64 and len(content) <= 256 and len(merged) < MAX_TAGS:
            merged.setdefault(tag, content)
    return merged


@lru_cache(maxsize=4096)
def within(address: str | None, networks: tuple[str, ...]) -> bool:
    """Return whether an address is in one of the networks; None, an address that is not known, is in none."""
    if address is None:
        return False
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:  # an IPv4 client of a dual-stack socket
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in _networks(networks))


@lru_cache(maxsize=4096)
def _networks(networks: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(network, strict=False) for network in networks]
