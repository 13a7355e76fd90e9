"""The checks that vLLM makes of a body, in vLLM's order and words."""

from functools import cache
from typing import Any, TypeVar

import msgspec

from sim import errors
from sim.prefix import Prompt
from sim.requests import ChatRequest, CompletionRequest, Wish

S = TypeVar("S", bound=msgspec.Struct)


@cache
def _decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=False)


def read(kind: type[S], content_type: bytes, body: bytes) -> S:
    """Decode a JSON body; raises ApiError as vLLM would answer."""
    if content_type.split(b";")[0].strip().lower() != b"application/json":
        raise errors.unsupported_media_type()
    try:
        request: S = _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise errors.mistyped(msgspec.json.decode(body), str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.malformed(body, str(error)) from None
    return request


def check(request: ChatRequest | CompletionRequest, served: tuple[str, ...]) -> None:
    """Check what needs no tokenizer; raises ApiError."""
    if request.stream_options is not None and not request.stream:
        raise errors.invalid("Stream options can only be defined when `stream=True`.", "stream_options")
    if isinstance(request, ChatRequest) and request.top_logprobs and not request.logprobs:
        raise errors.invalid("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
    if isinstance(request, CompletionRequest) and not request.prompt:
        raise errors.invalid("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    served_here(request.model, served)
    if isinstance(request, ChatRequest):
        not_empty(request.messages)
    sampling(request.n, request.temperature)


def served_here(model: str | None, served: tuple[str, ...]) -> None:
    """Check that a model is served, if one is named; raises ApiError."""
    if model and model not in served:
        raise errors.unknown_model(model, served)


def not_empty(messages: list[S]) -> None:
    """Check that a chat has a message; raises ApiError."""
    if not messages:
        raise errors.ApiError("Cannot apply chat template to an empty conversation. Provide at least one message.")


def sampling(n: int | None, temperature: float | None) -> None:
    """Check how tokens are drawn; raises ApiError."""
    if n is not None and n < 1:
        raise errors.ApiError(f"n must be at least 1, got {n}.")
    if temperature is not None and temperature < 0:
        raise errors.invalid(f"temperature must be non-negative, got {temperature}.", "temperature", temperature)


def fits(prompt: Prompt, max_model_len: int) -> int:
    """Return the tokens that the model has room for after a prompt; raises ApiError when the prompt alone is too long."""
    size = prompt.size
    if size > max_model_len:
        # A text is cut by vLLM's tokenizer at the limit, so its real length stays unknown; ids are there to be counted.
        shown, least = (max_model_len + 1, " at least") if isinstance(prompt.content, bytes) else (size, "")
        message = (
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains{least} "
        )
        message += f"{shown} input tokens, which exceeds this limit even without any output tokens. "
        raise errors.invalid(message + "Please reduce the length of the input prompt.", "input_tokens", shown)
    return max_model_len - size


def token_limit(wish: Wish, prompt: Prompt, max_model_len: int) -> int:
    """Return how many tokens may answer a prompt; raises ApiError where it or the wish does not fit the model."""
    room, wanted = fits(prompt, max_model_len), wish.max_tokens
    if wanted is None:
        return max(room, 1)
    if wanted < 1:
        raise errors.invalid(f"max_tokens must be at least 1, got {wanted}.", "max_tokens", wanted)
    if wanted > max_model_len:
        message = f"max_tokens={wanted} cannot be greater than max_model_len={max_model_len}. "
        raise errors.invalid(message + "Please request fewer output tokens.", "max_tokens", wanted)
    return max(min(wanted, room), 1)
