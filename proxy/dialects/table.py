"""Every path that a client may use, and what it is: metered by a dialect, or free. What is not here is refused.

What cannot be metered must not pass: a path of a new vLLM version is closed until it gets its line here.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from proxy.dialects.audio import TRANSCRIPTIONS, TRANSLATIONS
from proxy.dialects.base import Dialect
from proxy.dialects.batch import Batch
from proxy.dialects.chat import Chat
from proxy.dialects.cohere import Cohere
from proxy.dialects.completions import Completions
from proxy.dialects.embed import Embed
from proxy.dialects.generate import Generate
from proxy.dialects.invocations import Invocations
from proxy.dialects.messages import CountTokens, Messages
from proxy.dialects.pooling import CLASSIFY, EMBEDDINGS, GENERATIVE_SCORING, POOLING, RERANK, SCORE
from proxy.dialects.realtime import METHOD, Realtime
from proxy.dialects.responses import Responses, StoredResponse
from proxy.dialects.systemone import SystemOne
from proxy.dialects.tokenize import DETOKENIZE, TOKENIZE
from proxy.errors import Shape


class Route(NamedTuple):
    """What a path is. `dialect` None: free, passed on and not recorded; `key`: whether an API key is needed.

    A path may hold one parameter, a whole segment written `{name}`. `errors` is the shape of our own errors on it.
    """

    path: str
    methods: tuple[str, ...]
    dialect: Dialect | None
    key: bool = True
    errors: Shape = "openai"
    lists_models: bool = False
    """The answer is a list of models: of these, a key sees those that it may use."""
    own: bool = False
    """We answer ourselves: vLLM never sees it."""
    salted: bool = True
    """False: vLLM takes no `cache_salt`, so that all tenants share the prefixes it caches."""


_READ: Final = ("GET", "HEAD")
_ANY: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_EXACT: Final = re.compile("/[A-Za-z0-9._~/-]+")

ROUTES: Final[tuple[Route, ...]] = (
    Route("/v1/chat/completions", ("POST",), Chat()),
    Route("/v1/completions", ("POST",), Completions()),
    Route("/v1/chat/completions/batch", ("POST",), Batch()),
    Route("/v1/responses", ("POST",), Responses()),
    Route("/v1/responses/{response_id}", ("GET",), StoredResponse()),
    Route("/v1/responses/{response_id}/cancel", ("POST",), StoredResponse()),
    Route("/v1/messages", ("POST",), Messages(), errors="anthropic"),
    Route("/v1/messages/count_tokens", ("POST",), CountTokens(), errors="anthropic"),
    Route("/cohere/v2/chat", ("POST",), Cohere(), salted=False),
    Route("/inference/v1/generate", ("POST",), Generate()),
    Route("/invocations", ("POST",), Invocations()),
    Route("/v1/audio/transcriptions", ("POST",), TRANSCRIPTIONS),
    Route("/v1/audio/translations", ("POST",), TRANSLATIONS),
    Route("/v1/embeddings", ("POST",), EMBEDDINGS),
    Route("/v2/embed", ("POST",), Embed(), salted=False),
    Route("/pooling", ("POST",), POOLING),
    Route("/classify", ("POST",), CLASSIFY),
    Route("/score", ("POST",), SCORE),
    Route("/v1/score", ("POST",), SCORE),
    Route("/rerank", ("POST",), RERANK),
    Route("/v1/rerank", ("POST",), RERANK),
    Route("/v2/rerank", ("POST",), RERANK),
    Route("/generative_scoring", ("POST",), GENERATIVE_SCORING),
    Route("/v1/systemone", ("POST",), SystemOne()),
    Route("/tokenize", ("POST",), TOKENIZE),
    Route("/detokenize", ("POST",), DETOKENIZE),
    Route("/v1/realtime", (METHOD,), Realtime()),
    Route("/weighbridge/v1/me", ("GET",), None, own=True),
    Route("/v1/models", _READ, None, lists_models=True),
    Route("/version", _READ, None),
    Route("/health", _READ, None, key=False),
    Route("/ping", ("GET", "HEAD", "POST"), None, key=False),
)

_PLAIN: Final = {route.path.encode(): route for route in ROUTES if "{" not in route.path}
_WITH_PARAMETER: Final = [(*route.path.encode().partition(b"{")[::2], route) for route in ROUTES if "{" in route.path]


def free(paths: Iterable[str]) -> dict[bytes, Route]:
    """Return routes for paths that an operator opens, with a key, unmetered. Raises ValueError for one that cannot be."""
    found: dict[bytes, Route] = {}
    for path in paths:
        if not _EXACT.fullmatch(path) or not {"", ".", ".."}.isdisjoint(path[1:].split("/")):
            raise ValueError(f"{path!r} is no exact path such as /tokenizer_info")
        known = find(path.encode())
        if known is not None and known[0].dialect is not None:
            raise ValueError(f"{path} is metered")
        found[path.encode()] = Route(path, _ANY, None)
    return found


def find(target: bytes, opened: Mapping[bytes, Route] = {}) -> tuple[Route, str | None] | None:
    """Return the route of a request target (path and query, as sent) and the path's parameter; None: there is none.

    `opened`: what `free` returned; the table comes first. No other spelling of a path is accepted: none with a trailing
    slash, a doubled one or an escape.
    """
    path = target if b"?" not in target else target[: target.index(b"?")]
    route = _PLAIN.get(path) or opened.get(path)
    if route is not None:
        return route, None
    for before, rest, with_parameter in _WITH_PARAMETER:
        after = rest[rest.index(b"}") + 1 :]
        if path.startswith(before) and path.endswith(after) and len(path) > len(before) + len(after):
            parameter = path[len(before) : len(path) - len(after)]
            if _is_name(parameter):
                return with_parameter, parameter.decode()
    return None


def _is_name(parameter: bytes) -> bool:
    """Return whether bytes are an identifier, and nothing that a server could read in two ways."""
    return 0 < len(parameter) <= 256 and parameter.replace(b"_", b"").replace(b"-", b"").isalnum()
