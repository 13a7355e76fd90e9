"""`/v1/models`: what is served."""

import secrets
from typing import Any

import msgspec

from contracts.clock import utc_now
from sim.server import Connection, HttpRequest
from sim.site import Site


def models(site: Site, _request: HttpRequest, connection: Connection) -> None:
    """Answer `/v1/models`."""
    created = int(utc_now().timestamp())
    cards = [_card(name, created, site.settings.sim_max_model_len) for name in site.models]
    connection.send(200, msgspec.json.encode({"object": "list", "data": cards}))


def _card(name: str, created: int, max_model_len: int) -> dict[str, Any]:
    permission = {
        "id": f"modelperm-{secrets.token_hex(8)}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": f"./{name}",
        "parent": None,
        "max_model_len": max_model_len,
        "permission": [permission],
    }
