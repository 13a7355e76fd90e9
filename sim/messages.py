"""`/v1/messages` and its token count: Anthropic's API, which vLLM makes of a chat."""

from typing import Any

import msgspec

from sim.answers import Job, named
from sim.checks import not_empty, sampling, served_here
from sim.engine import Choice
from sim.errors import ApiError, anthropic
from sim.prefix import Prompt
from sim.requests import Message, Part, Wish, stops, template
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site


class CountRequest(msgspec.Struct, kw_only=True):
    """A chat to be counted."""

    model: str
    messages: list[Message]
    system: str | list[Part] | None = None
    cache_salt: str | None = None

    def prompts(self) -> list[Prompt]:
        """Return the one prompt; the system's words come first."""
        system = [] if self.system is None else [Message("system", self.system)]
        return [Prompt(template(system + self.messages), self.cache_salt or "")]


class MessagesRequest(CountRequest, kw_only=True):
    """A chat to be answered."""

    max_tokens: int
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None


def messages(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/v1/messages`."""
    body = site.read(MessagesRequest, request)
    if body.max_tokens <= 0:
        raise ApiError(
            "1 validation error:\n  max_tokens must be positive", "Bad Request", "body.max_tokens", early=True
        )
    served_here(body.model, site.models)
    not_empty(body.messages)
    sampling(None, body.temperature)
    wish = Wish(stream=bool(body.stream), max_tokens=body.max_tokens, stops=stops(body.stop_sequences))
    job = site.job("chatcmpl-", request, body.prompts(), wish)
    return site.generate(job, request, MessagesFormat, connection, anthropic)


def count_tokens(site: Site, request: HttpRequest, connection: Connection) -> None:
    """Answer `/v1/messages/count_tokens`."""
    body = site.read(CountRequest, request)
    served_here(body.model, site.models)
    not_empty(body.messages)
    size = body.prompts()[0].size
    shown = {"input_tokens": size, "context_management": {"original_input_tokens": size}}
    connection.send(200, msgspec.json.encode(shown))


class MessagesFormat:
    """Writes one message."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._open = False

    def opening(self) -> bytes:
        """Return the start of the message, with what is known of the usage."""
        job = self._job
        start: dict[str, Any] = {
            "id": job.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": job.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": job.prompt_tokens, "output_tokens": 0},
        }
        return _event("message_start", message=start)

    def event(self, choice: Choice, text: str) -> bytes:
        """Return what the newest token adds; nothing when it shows nothing."""
        if not text:
            return b""
        delta = _event("content_block_delta", delta={"type": "text_delta", "text": text}, index=0)
        if self._open:
            return delta
        self._open = True
        return _event("content_block_start", content_block={"type": "text", "text": ""}, index=0) + delta

    def closing(self) -> bytes:
        """Return the end of the message, with its usage."""
        reason, sequence = _stop(self._job.choices[0])
        end = _event("content_block_stop", index=0) if self._open else b""
        end += _event("message_delta", delta={"stop_reason": reason, "stop_sequence": sequence}, usage=self._usage())
        return end + _event("message_stop")

    def failure(self, error: ApiError) -> bytes:
        """Return the error; no end of the message follows."""
        return _event("error", error={"type": "internal_error", "message": error.message})

    def keep(self, choice: Choice) -> None:
        """Do nothing: the choice holds its text."""

    def body(self) -> bytes:
        """Return the whole message, without what is null."""
        job, choice = self._job, self._job.choices[0]
        reason, sequence = _stop(choice)
        whole: dict[str, Any] = {
            "id": job.id,
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": choice.text}],
            "model": job.model,
            "stop_reason": reason,
        }
        if sequence is not None:
            whole["stop_sequence"] = sequence
        return msgspec.json.encode({**whole, "usage": self._usage()})

    def _usage(self) -> dict[str, int]:
        """Return Anthropic's figures: what the cache had or took in is not part of the input."""
        job = self._job
        if not job.show_details:
            return {"input_tokens": job.prompt_tokens, "output_tokens": job.generated}
        hit = job.choices[0].hit
        return {
            "input_tokens": max(job.prompt_tokens - hit.cached - hit.created, 0),
            "output_tokens": job.generated,
            "cache_creation_input_tokens": hit.created,
            "cache_read_input_tokens": hit.cached,
        }


def _event(kind: str, **fields: object) -> bytes:
    return named(kind, {"type": kind, **fields})


def _stop(choice: Choice) -> tuple[str, str | None]:
    if choice.finish == "length":
        return "max_tokens", None
    return ("end_turn", None) if choice.stop is None else ("stop_sequence", choice.stop)
