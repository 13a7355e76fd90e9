"""Paths of vLLM that are closed on purpose, each with the reason that a client is told. What is here is not in the table.

A path that neither knows is closed too, but nobody has decided about it: tests compare both with the routes of real vLLM.
An operator may open one of these with `FREE_PATHS`, unmetered.
"""

from typing import Final

from proxy.ports import Refusal

_OPERATOR: Final = "it steers the server, and is for its operator alone"
_OTHERS: Final = "it tells about the requests of others"
_PAGES: Final = "it describes all paths of vLLM, these closed ones too"
_SPLIT: Final = "it is a step between vLLM servers that share the work on a request, and is for these alone"

REFUSED: Final[dict[str, str]] = {
    "/openapi.json": _PAGES,
    "/docs": _PAGES,
    "/docs/oauth2-redirect": _PAGES,
    "/redoc": _PAGES,
    "/static": _PAGES,
    "/metrics": _OTHERS,
    "/load": _OTHERS,
    "/server_info": _OPERATOR,
    "/kv_event_sources": _OPERATOR,
    "/tokenizer_info": "it tells the files and settings of the server's tokenizer",
    "/v1/load_lora_adapter": _OPERATOR,
    "/v1/unload_lora_adapter": _OPERATOR,
    "/adapters": _OPERATOR,
    "/adapters/{adapter_name}": _OPERATOR,
    "/start_profile": _OPERATOR,
    "/stop_profile": _OPERATOR,
    "/reset_prefix_cache": _OPERATOR,
    "/reset_mm_cache": _OPERATOR,
    "/reset_encoder_cache": _OPERATOR,
    "/collective_rpc": _OPERATOR,
    "/sleep": _OPERATOR,
    "/wake_up": _OPERATOR,
    "/is_sleeping": _OPERATOR,
    "/release_kv_cache_memory": _OPERATOR,
    "/pause": _OPERATOR,
    "/resume": _OPERATOR,
    "/is_paused": _OPERATOR,
    "/abort_requests": "it ends requests of others",
    "/inference/v1/abort_requests": "it ends requests of others",
    "/init_weight_transfer_engine": _OPERATOR,
    "/shutdown_weight_transfer_engine": _OPERATOR,
    "/start_weight_update": _OPERATOR,
    "/start_draft_weight_update": _OPERATOR,
    "/update_weights": _OPERATOR,
    "/finish_weight_update": _OPERATOR,
    "/update_weight_version": _OPERATOR,
    "/weight_info": _OPERATOR,
    "/weight_checker": _OPERATOR,
    "/get_world_size": _OPERATOR,
    "/scale_elastic_ep": _OPERATOR,
    "/is_scaling_elastic_ep": _OPERATOR,
    "/fault_tolerance/apply": _OPERATOR,
    "/fault_tolerance/status": _OPERATOR,
    "/v1/chat/completions/render": _SPLIT,
    "/v1/completions/render": _SPLIT,
    "/v1/messages/render": _SPLIT,
    "/v1/responses/render": _SPLIT,
    "/cohere/v2/chat/render": _SPLIT,
    "/v1/chat/completions/derender": _SPLIT,
    "/v1/completions/derender": _SPLIT,
}
"""Path, as vLLM writes it → why it is closed."""

_TREES: Final = tuple(path.encode() + b"/" for path in ("/static", "/metrics", "/adapters"))


def refusal(target: bytes) -> Refusal:
    """Return why a request target (path and query, as sent) is not served."""
    path = target.partition(b"?")[0]
    why = REFUSED.get(path.decode("latin-1"))
    if why is None:
        tree = next((tree for tree in _TREES if path.startswith(tree)), None)
        why = REFUSED[tree[:-1].decode()] if tree is not None else None
    message = "This path is not served here." if why is None else f"This path of vLLM is not served here: {why}."
    return Refusal("unknown_endpoint", message)
