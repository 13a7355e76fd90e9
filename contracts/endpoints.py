"""The paths that proxies answer with a key, as a key's `endpoints` name them. A test holds them to the proxy's table."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

KNOWN: Final = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/chat/completions/batch",
    "/v1/responses",
    "/v1/responses/{response_id}",
    "/v1/responses/{response_id}/cancel",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/cohere/v2/chat",
    "/inference/v1/generate",
    "/invocations",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/embeddings",
    "/v2/embed",
    "/pooling",
    "/classify",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/generative_scoring",
    "/v1/systemone",
    "/tokenize",
    "/detokenize",
    "/v1/realtime",
    "/v1/models",
    "/version",
)


def closest(path: str, more: Collection[str] = ()) -> str | None:
    """Return the known path that a wrong one is most like, if there is any."""
    found = get_close_matches(path, (*KNOWN, *more), n=1, cutoff=0.5)
    return found[0] if found else None
