"""Which path is answered how. The rest is 404, the wrong method 405, and a wrong key 401, each in vLLM's words."""

import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from contracts.clock import utc_now
from sim import errors, tokens
from sim.answers import Job, R
from sim.chat import ChatFormat
from sim.completions import CompletionFormat
from sim.generate import Backend
from sim.metrics import Exposition
from sim.requests import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
    check,
    read,
    template,
)
from sim.server import Connection, HttpRequest
from sim.settings import SimSettings

_GUARDED: Final = ("/v1", "/v2", "/inference", "/cohere")
_METRICS_TYPE: Final = b"text/plain; version=1.0.0; charset=utf-8"

Answer = Callable[[HttpRequest, Connection], Coroutine[Any, Any, None] | None]


class Routes:
    """Answers every request of every connection."""

    def __init__(
        self, settings: SimSettings, backend: Backend, exposition: Exposition, load: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._exposition = exposition
        self._load = load
        self._models = tuple(name.strip() for name in settings.sim_models.split(","))
        secret = settings.sim_api_key
        self._authorization = None if secret is None else b"Bearer " + secret.get_secret_value().encode()
        self._answers: dict[str, tuple[tuple[str, ...], Answer]] = {
            "/v1/chat/completions": (("POST",), self._chat),
            "/v1/completions": (("POST",), self._completion),
            "/v1/models": (("GET",), self._list_models),
            "/tokenize": (("POST",), self._tokenize),
            "/detokenize": (("POST",), self._detokenize),
            "/health": (("GET",), self._empty),
            "/ping": (("GET", "POST"), self._empty),
            "/version": (("GET",), self._version),
            "/load": (("GET",), self._show_load),
            "/metrics": (("GET",), self._metrics),
        }

    def __call__(self, request: HttpRequest, connection: Connection) -> Coroutine[Any, Any, None] | None:
        """Answer a request at once, or return what will."""
        path = request.path
        if self._authorization is not None and path.startswith(_GUARDED):
            given = request.headers.get(b"authorization", b"")
            if not secrets.compare_digest(given, self._authorization):
                connection.send(401, errors.UNAUTHORIZED, cors=False)
                return None
        methods, answer = self._answers.get(path, ((), None))
        if answer is None:
            connection.send(404, errors.NOT_FOUND)
        elif request.method not in methods:
            connection.send(405, errors.METHOD_NOT_ALLOWED, allow=", ".join(methods))
        else:
            try:
                return answer(request, connection)
            except errors.ApiError as error:
                connection.send(error.status, error.body)
        return None

    def _chat(self, request: HttpRequest, connection: Connection) -> Coroutine[Any, Any, None]:
        body = read(ChatRequest, request.headers.get(b"content-type", b""), request.body)
        check(body, self._models)
        job = self._job("chatcmpl-", request, body)
        return self._backend.serve(job, self._backend.plan(job, request.path, request.headers), ChatFormat, connection)

    def _completion(self, request: HttpRequest, connection: Connection) -> Coroutine[Any, Any, None]:
        body = read(CompletionRequest, request.headers.get(b"content-type", b""), request.body)
        check(body, self._models)
        job = self._job("cmpl-", request, body)
        plan = self._backend.plan(job, request.path, request.headers)
        return self._backend.serve(job, plan, CompletionFormat, connection)

    def _job(self, prefix: str, request: HttpRequest, body: R) -> Job[R]:
        name = request.headers.get(b"x-request-id")
        return Job(
            id=prefix + (secrets.token_hex(8) if name is None else name.decode("latin-1")),
            created=int(utc_now().timestamp()),
            model=self._models[0],
            request=body,
            prompts=body.prompts(),
            choices=[],
            show_details=self._settings.sim_prompt_tokens_details,
        )

    def _list_models(self, _request: HttpRequest, connection: Connection) -> None:
        created = int(utc_now().timestamp())
        cards = [_model_card(name, created, self._settings.sim_max_model_len) for name in self._models]
        connection.send(200, msgspec.json.encode({"object": "list", "data": cards}))

    def _tokenize(self, request: HttpRequest, connection: Connection) -> None:
        body = read(TokenizeRequest, request.headers.get(b"content-type", b""), request.body)
        text = (body.prompt or "").encode() if body.messages is None else template(body.messages)
        ids = tokens.encode(text)
        shown = {
            "count": len(ids),
            "max_model_len": self._settings.sim_max_model_len,
            "tokens": ids,
            "token_strs": [tokens.decode([token]) for token in ids] if body.return_token_strs else None,
        }
        connection.send(200, msgspec.json.encode(shown))

    def _detokenize(self, request: HttpRequest, connection: Connection) -> None:
        body = read(DetokenizeRequest, request.headers.get(b"content-type", b""), request.body)
        connection.send(200, msgspec.json.encode({"prompt": tokens.decode(body.tokens)}))

    def _empty(self, _request: HttpRequest, connection: Connection) -> None:
        connection.send(200, b"", None)

    def _version(self, _request: HttpRequest, connection: Connection) -> None:
        connection.send(200, b'{"version":"0.32.0"}')

    def _show_load(self, _request: HttpRequest, connection: Connection) -> None:
        connection.send(200, msgspec.json.encode({"server_load": self._load()}))

    def _metrics(self, _request: HttpRequest, connection: Connection) -> None:
        connection.send(200, self._exposition.render(), _METRICS_TYPE)


def _model_card(name: str, created: int, max_model_len: int) -> dict[str, Any]:
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
