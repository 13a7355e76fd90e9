"""What all answers have in common: one request's choices, its usage in OpenAI's variants, and how an event is framed."""

from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from sim.engine import Choice
from sim.errors import ApiError
from sim.prefix import Prompt
from sim.requests import Wish

DONE = b"data: [DONE]\n\n"
FINGERPRINT = "vllm-0.32.0-51111111"


class PromptDetails(msgspec.Struct, kw_only=True):
    """`prompt_tokens_details`, as `--enable-prompt-tokens-details` adds it."""

    cached_tokens: int
    created_cache_tokens: int | UnsetType | None = UNSET
    multimodal_tokens: UnsetType | None = UNSET


class Usage(msgspec.Struct, kw_only=True):
    """`usage`, its keys in vLLM's order; what a variant leaves out is unset."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: PromptDetails | UnsetType | None = UNSET
    completion_tokens_details: UnsetType | None = UNSET


@dataclass(slots=True)
class Job:
    """One request being answered. `choices` holds n for each prompt, in order of the prompts.

    `id` is the answer's, `request_id` the X-Request-Id or one of the simulator's own. `engine_prompt_tokens` is what the
    request added to vLLM's counter of prompt tokens so far.
    """

    id: str
    request_id: str
    path: str
    created: int
    model: str
    wish: Wish
    prompts: list[Prompt]
    show_details: bool
    choices: list[Choice] = field(default_factory=list)
    engine_prompt_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompts, each counted once, whatever n is."""
        return sum(prompt.size for prompt in self.prompts)

    @property
    def generated(self) -> int:
        """Tokens generated so far, over all choices."""
        return sum(choice.generated for choice in self.choices)


class Format(Protocol):
    """Writes the answers of one endpoint. Events are whole: `data: …` and an empty line."""

    def opening(self) -> bytes:
        """Return the events that open a stream, or nothing."""

    def event(self, choice: Choice, text: str) -> bytes:
        """Return the event of a choice's newest token; `text` is what it shows. Some formats have none where nothing shows."""

    def closing(self) -> bytes:
        """Return all that comes after the last token: the sums, where they belong, and the end mark."""

    def failure(self, error: ApiError) -> bytes | None:
        """Return what ends a stream whose engine failed; None where vLLM only breaks the connection."""

    def keep(self, choice: Choice) -> None:
        """Take note of a choice's newest token, which `body` will need; only for answers that are not streamed."""

    def body(self) -> bytes:
        """Return the whole answer."""


def totals(job: Job) -> Usage:
    """Return the sums of a request without details."""
    prompt, generated = job.prompt_tokens, job.generated
    return Usage(prompt_tokens=prompt, total_tokens=prompt + generated, completion_tokens=generated)


def of_choice(choice: Choice) -> Usage:
    """Return what one choice used so far, as continuous usage shows it: for itself, with its own prompt."""
    prompt, generated = choice.prompt.size, choice.generated
    return Usage(prompt_tokens=prompt, total_tokens=prompt + generated, completion_tokens=generated)


def frame(chunk: msgspec.Struct) -> bytes:
    """Return a chunk as a server-sent event."""
    return b"data: %b\n\n" % msgspec.json.encode(chunk)


def named(event: str, payload: object) -> bytes:
    """Return a server-sent event that has a name."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(payload))


def broken(error: ApiError) -> bytes:
    """Return how OpenAI's streams end when the engine failed."""
    return b"data: %b\n\n" % error.body + DONE
