"""Bodies as clients send them, and the checks that vLLM makes, in vLLM's order."""

from typing import Final, TypeVar

import msgspec

from sim import errors
from sim.prefix import Prompt


class StreamOptions(msgspec.Struct):
    """What a stream reports beside its text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Request(msgspec.Struct, kw_only=True):
    """What both kinds of generation take. A field that is null counts as not given."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    n: int | None = None
    seed: int | None = None
    temperature: float | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None
    cache_salt: str | None = None
    return_token_ids: bool | None = None

    @property
    def choices(self) -> int:
        """How many answers to each prompt."""
        return 1 if self.n is None else self.n

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end an answer."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the sums."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def continuous_usage(self) -> bool:
        """Whether every chunk carries usage; vLLM ignores the wish without `include_usage`."""
        return self.include_usage and bool(self.stream_options and self.stream_options.continuous_usage_stats)


class Part(msgspec.Struct):
    """A part of a message's content."""

    type: str
    text: str | None = None


class Message(msgspec.Struct):
    """A message of a chat."""

    role: str
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """Its text parts, one a line."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text is not None)
        return self.content or ""


class ChatRequest(Request, kw_only=True):
    """`/v1/chat/completions`."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    def prompts(self) -> list[Prompt]:
        """Return the one prompt, as the recorded model's chat template writes it."""
        return [Prompt(template(self.messages), self.cache_salt or "")]


class CompletionRequest(Request, kw_only=True):
    """`/v1/completions`: one prompt or several, each as text or as ids."""

    prompt: str | list[str | int | list[int]] | None = None
    echo: bool | None = None
    logprobs: int | None = None

    def prompts(self) -> list[Prompt]:
        """Return the prompts in order; empty when there is none."""
        salt = self.cache_salt or ""
        if isinstance(self.prompt, str):
            return [Prompt(self.prompt.encode(), salt)] if self.prompt else []
        given = self.prompt or []
        ids = [item for item in given if isinstance(item, int)]
        if ids:
            return [Prompt(ids, salt)]
        return [
            Prompt(item.encode() if isinstance(item, str) else item, salt)
            for item in given
            if isinstance(item, str | list)
        ]


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """`/tokenize`: a prompt or a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    """`/detokenize`."""

    model: str | None = None
    tokens: list[int]


def template(messages: list[Message]) -> bytes:
    """Write a chat as one prompt."""
    turns = "".join(f"<|{message.role}|>{message.text}\n" for message in messages)
    return f"{turns}<|assistant|>".encode()


S = TypeVar("S", bound=msgspec.Struct)
_DECODERS: Final[dict[type[msgspec.Struct], msgspec.json.Decoder[msgspec.Struct]]] = {
    kind: msgspec.json.Decoder(kind, strict=False)
    for kind in (ChatRequest, CompletionRequest, TokenizeRequest, DetokenizeRequest)
}


def read(kind: type[S], content_type: bytes, body: bytes) -> S:
    """Decode a body; raises ApiError as vLLM would answer."""
    if content_type.split(b";")[0].strip().lower() != b"application/json":
        raise errors.unsupported_media_type()
    try:
        request = _DECODERS[kind].decode(body)
    except msgspec.ValidationError as error:
        raise errors.mistyped(msgspec.json.decode(body), str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.malformed(body, str(error)) from None
    assert isinstance(request, kind)
    return request


def check(request: ChatRequest | CompletionRequest, served: tuple[str, ...]) -> None:
    """Check what needs no tokenizer; raises ApiError."""
    if request.stream_options is not None and not request.stream:
        raise errors.invalid("Stream options can only be defined when `stream=True`.", "stream_options")
    if isinstance(request, ChatRequest) and request.top_logprobs and not request.logprobs:
        raise errors.invalid("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
    if isinstance(request, CompletionRequest) and not request.prompt:
        raise errors.invalid("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    if request.model and request.model not in served:
        raise errors.unknown_model(request.model, served)
    if isinstance(request, ChatRequest) and not request.messages:
        raise errors.ApiError("Cannot apply chat template to an empty conversation. Provide at least one message.")
    if request.choices < 1:
        raise errors.ApiError(f"n must be at least 1, got {request.n}.")
    if request.temperature is not None and request.temperature < 0:
        wrong = request.temperature
        raise errors.invalid(f"temperature must be non-negative, got {wrong}.", "temperature", wrong)


def token_limit(request: ChatRequest | CompletionRequest, prompt: Prompt, max_model_len: int) -> int:
    """Return how many tokens may answer a prompt; raises ApiError where it or the wish does not fit the model."""
    size = prompt.size
    if size > max_model_len:
        message = f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains at "
        message += f"least {max_model_len + 1} input tokens, which exceeds this limit even without any output tokens. "
        raise errors.invalid(
            message + "Please reduce the length of the input prompt.", "input_tokens", max_model_len + 1
        )
    wish = request.max_tokens
    if isinstance(request, ChatRequest):
        wish = request.max_completion_tokens if request.max_completion_tokens is not None else wish
    elif wish is None:
        wish = 16
    room = max_model_len - size
    if wish is None:
        return max(room, 1)
    if wish < 1:
        raise errors.invalid(f"max_tokens must be at least 1, got {wish}.", "max_tokens", wish)
    if wish > max_model_len:
        message = f"max_tokens={wish} cannot be greater than max_model_len={max_model_len}. "
        raise errors.invalid(message + "Please request fewer output tokens.", "max_tokens", wish)
    return max(min(wish, room), 1)
