"""What a first `up` creates, so that there is something to look at: a tenant, its key, a price for every model."""

from typing import Final

import httpx
import msgspec

from cli.client import Api
from cli.errors import CommandError
from embedded.folder import Demo

PRICES: Final = [
    {"model": "*", "meter": "input_tokens", "pricing": "flat", "per": 1_000_000, "price": "0.50"},
    {"model": "*", "meter": "cache_read_input_tokens", "pricing": "flat", "per": 1_000_000, "price": "0.05"},
    {"model": "*", "meter": "output_tokens", "pricing": "flat", "per": 1_000_000, "price": "1.50"},
]
EFFECTIVE_FROM: Final = "2026-01-01T00:00:00Z"


def create_demo(api: Api) -> Demo:
    """Create the tenant, its key and the price book through the billing API."""
    tenant = api.post("/v1/tenants", {"name": "Demo", "time_zone": "Europe/Berlin", "currency": "EUR"})["id"]
    key = api.post("/v1/keys", {"tenant": tenant, "name": "demo"})["secret"]
    api.post("/v1/price-books", {"name": "Demo", "currency": "EUR", "effective_from": EFFECTIVE_FROM, "prices": PRICES})
    return Demo(tenant=tenant, key=key)


def model_through(proxy: str, key: str) -> str:
    """Return the first model that a proxy lets the key use; raises CommandError when there is none."""
    try:
        answer = httpx.get(f"{proxy}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=10)
        return str(msgspec.json.decode(answer.raise_for_status().content)["data"][0]["id"])
    except (httpx.HTTPError, msgspec.DecodeError, LookupError, TypeError) as error:
        raise CommandError(f"the proxy at {proxy} names no model ({error}); is its upstream running?") from error
