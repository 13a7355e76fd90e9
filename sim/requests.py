"""Bodies that ask for generated text, and what each of them wants of the engine."""

import msgspec

from sim.prefix import Prompt


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants of the engine, whichever endpoint it asked; `max_tokens` is None for as much as fits."""

    stream: bool = False
    choices: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    ignore_eos: bool = False


class StreamOptions(msgspec.Struct):
    """What a stream reports beside its text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Request(msgspec.Struct, kw_only=True):
    """What chats and completions take. A field that is null counts as not given."""

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
    def limit(self) -> int | None:
        """Tokens that an answer may have."""
        return self.max_tokens

    @property
    def wish(self) -> Wish:
        """What it wants of the engine."""
        return Wish(
            stream=bool(self.stream),
            choices=1 if self.n is None else self.n,
            max_tokens=self.limit,
            min_tokens=self.min_tokens or 0,
            seed=self.seed,
            stops=stops(self.stop),
            ignore_eos=bool(self.ignore_eos),
        )

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


class ChatFields(Request, kw_only=True):
    """What a chat takes beside its messages."""

    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def limit(self) -> int | None:
        """Tokens that an answer may have, by the newer name if it is given."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class ChatRequest(ChatFields, kw_only=True):
    """`/v1/chat/completions`."""

    messages: list[Message]

    def prompts(self) -> list[Prompt]:
        """Return the one prompt, as the recorded model's chat template writes it."""
        return [Prompt(template(self.messages), self.cache_salt or "")]


class CompletionRequest(Request, kw_only=True):
    """`/v1/completions`: one prompt or several, each as text or as ids."""

    prompt: str | list[str | int | list[int]] | None = None
    echo: bool | None = None
    logprobs: int | None = None

    @property
    def limit(self) -> int | None:
        """Tokens that an answer may have: 16 unless told, as OpenAI has it."""
        return 16 if self.max_tokens is None else self.max_tokens

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


def stops(given: str | list[str] | None) -> tuple[str, ...]:
    """Return the strings that end an answer."""
    return tuple(text for text in ([given] if isinstance(given, str) else given or []) if text)


def template(messages: list[Message]) -> bytes:
    """Write a chat as one prompt."""
    turns = "".join(f"<|{message.role}|>{message.text}\n" for message in messages)
    return f"{turns}<|assistant|>".encode()
