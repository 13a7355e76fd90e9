"""Which members of which requests may be large, by path. A path that is not here takes no more than what is held."""

from typing import Final, Protocol

from proxy import form
from proxy.dialects import inputs
from proxy.streamed.form_body import FormBody
from proxy.streamed.json_body import JsonBody, Large


class Body(Protocol):
    """A body on its way. What must not be passed on raises BadRequestError."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return what goes to vLLM now."""

    def rest(self) -> bytes:
        """Return, at the end, a body for the dialect in which what passed is left out."""

    def tail(self, body: bytes) -> bytes:
        """Return what ends the body for vLLM. `body`: what the dialect made of `rest`."""


_MESSAGES: Final = Large(parts=frozenset({"messages"}))
_POOLED: Final = Large(parts=frozenset(inputs.PARTS), other=frozenset({"input"}))
_PROMPTS: Final = frozenset({"prompt", "prompt_embeds"})
_JSON: Final[dict[str, Large]] = {
    "/v1/chat/completions": _MESSAGES,
    "/v1/completions": Large(other=_PROMPTS),
    "/v1/chat/completions/batch": _MESSAGES,
    "/v1/responses": Large(parts=frozenset({"input"})),
    "/v1/messages": Large(parts=frozenset({"messages", "system"})),
    "/v1/messages/count_tokens": Large(other=frozenset({"messages", "system"})),
    "/cohere/v2/chat": Large(other=frozenset({"messages"})),
    "/inference/v1/generate": Large(parts=frozenset({"content_parts"}), other=frozenset({"token_ids"})),
    "/invocations": Large(parts=frozenset({"messages"}), other=_PROMPTS | {"input"}),
    "/v1/embeddings": _POOLED,
    "/v2/embed": Large(other=frozenset({"texts", "images", "inputs"})),
    "/pooling": _POOLED,
    "/classify": _POOLED,
    "/score": _POOLED,
    "/v1/score": _POOLED,
    "/rerank": _POOLED,
    "/v1/rerank": _POOLED,
    "/v2/rerank": _POOLED,
    "/generative_scoring": _POOLED,
    "/tokenize": Large(parts=frozenset({"messages"}), other=frozenset({"prompt"})),
    "/detokenize": Large(other=frozenset({"tokens"})),
}
_FORMS: Final = ("/v1/audio/transcriptions", "/v1/audio/translations")
PATHS: Final = (*_JSON, *_FORMS)


def body(path: str, content_type: bytes, limit: int) -> Body:
    """Return what reads the body of a request to one of `PATHS`. `limit`: bytes of what is held. Raises BadRequestError."""
    if path in _FORMS:
        return FormBody(form.boundary_of(content_type), limit)
    return JsonBody(_JSON[path], limit)
