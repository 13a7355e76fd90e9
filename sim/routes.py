"""Which path is answered by what: one table. The rest is 404, the wrong method 405, and a wrong key 401, in vLLM's words."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from sim import errors
from sim.audio import transcribe, translate
from sim.batch import batch
from sim.chat import chat
from sim.classify import classify
from sim.cohere import cohere_chat
from sim.completions import completion
from sim.embed import embed
from sim.embeddings import embeddings, pooling
from sim.errors import Shape
from sim.inference import generate
from sim.invocations import invocations
from sim.messages import count_tokens, messages
from sim.metrics import Exposition
from sim.models import models
from sim.responses import cancel, respond, retrieve
from sim.scoring import rerank, score
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site
from sim.tokenizing import detokenize, tokenize

_GUARDED: Final = ("/v1", "/v2", "/inference", "/cohere")
_METRICS_TYPE: Final = b"text/plain; version=1.0.0; charset=utf-8"

Answer = Callable[[Site, HttpRequest, Connection], Answering | None]
"""Answers a request at once, or returns what will; raises ApiError when it refuses."""


@dataclass(frozen=True)
class Route:
    """What answers a path, for which methods, and how its errors look."""

    answer: Answer
    methods: tuple[str, ...] = ("POST",)
    shape: Shape = errors.openai


def _empty(_site: Site, _request: HttpRequest, connection: Connection) -> None:
    connection.send(200, b"", None)


def _version(_site: Site, _request: HttpRequest, connection: Connection) -> None:
    connection.send(200, b'{"version":"0.32.0"}')


ROUTES: Final[dict[str, Route]] = {
    "/v1/chat/completions": Route(chat),
    "/v1/completions": Route(completion),
    "/v1/chat/completions/batch": Route(batch),
    "/v1/responses": Route(respond),
    "/v1/responses/{id}": Route(retrieve, ("GET",)),
    "/v1/responses/{id}/cancel": Route(cancel),
    "/v1/messages": Route(messages, shape=errors.anthropic),
    "/v1/messages/count_tokens": Route(count_tokens, shape=errors.anthropic),
    "/cohere/v2/chat": Route(cohere_chat, shape=errors.cohere),
    "/v1/audio/transcriptions": Route(transcribe),
    "/v1/audio/translations": Route(translate),
    "/inference/v1/generate": Route(generate),
    "/invocations": Route(invocations),
    "/v1/embeddings": Route(embeddings),
    "/v2/embed": Route(embed),
    "/pooling": Route(pooling),
    "/classify": Route(classify),
    "/score": Route(score),
    "/v1/score": Route(score),
    "/rerank": Route(rerank),
    "/v1/rerank": Route(rerank),
    "/v2/rerank": Route(rerank),
    "/tokenize": Route(tokenize),
    "/detokenize": Route(detokenize),
    "/v1/models": Route(models, ("GET",)),
    "/version": Route(_version, ("GET",)),
    "/health": Route(_empty, ("GET",)),
    "/ping": Route(_empty, ("GET", "POST")),
}


class Routes:
    """Answers every request of every connection."""

    def __init__(self, site: Site, exposition: Exposition, load: Callable[[], int]) -> None:
        self._site = site
        secret = site.settings.sim_api_key
        self._authorization = None if secret is None else b"Bearer " + secret.get_secret_value().encode()

        def show_load(_site: Site, _request: HttpRequest, connection: Connection) -> None:
            connection.send(200, msgspec.json.encode({"server_load": load()}))

        def show_metrics(_site: Site, _request: HttpRequest, connection: Connection) -> None:
            connection.send(200, exposition.render(), _METRICS_TYPE)

        own = {"/load": Route(show_load, ("GET",)), "/metrics": Route(show_metrics, ("GET",))}
        self._routes = {**ROUTES, **own}

    def __call__(self, request: HttpRequest, connection: Connection) -> Answering | None:
        """Answer a request at once, or return what will."""
        path = request.path
        if self._authorization is not None and path.startswith(_GUARDED):
            given = request.headers.get(b"authorization", b"")
            if not secrets.compare_digest(given, self._authorization):
                connection.send(401, errors.UNAUTHORIZED, cors=False)
                return None
        route = self._routes.get(path) or self._routes.get(_pattern(path))
        if route is None:
            connection.send(404, errors.NOT_FOUND)
        elif request.method not in route.methods:
            connection.send(405, errors.METHOD_NOT_ALLOWED, allow=", ".join(route.methods))
        else:
            try:
                return route.answer(self._site, request, connection)
            except errors.ApiError as error:
                connection.send(error.status, route.shape(error))
        return None


def _pattern(path: str) -> str:
    """Return a path as the table has it if it names a response by its id."""
    parts = path.split("/")
    if path.startswith("/v1/responses/") and len(parts) > 3 and parts[3]:
        parts[3] = "{id}"
    return "/".join(parts)
