"""`/cohere/v2/chat`, which vLLM serves with VLLM_ENABLE_COHERE_API=1: Cohere's API, made of a chat."""

from typing import Any

import msgspec

from sim.answers import DONE, Job
from sim.checks import not_empty, sampling, served_here
from sim.engine import Choice
from sim.errors import ApiError, cohere
from sim.prefix import Prompt
from sim.requests import Message, Wish, stops, template
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site


class CohereRequest(msgspec.Struct, kw_only=True):
    """A chat as Cohere writes it."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None


def cohere_chat(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/cohere/v2/chat`."""
    body = site.read(CohereRequest, request)
    served_here(body.model, site.models)
    not_empty(body.messages)
    sampling(None, body.temperature)
    wish = Wish(stream=bool(body.stream), max_tokens=body.max_tokens, seed=body.seed, stops=stops(body.stop_sequences))
    job = site.job("chatcmpl-", request, [Prompt(template(body.messages))], wish)
    return site.generate(job, request, CohereFormat, connection, cohere)


class CohereFormat:
    """Writes one message."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._open = False

    def opening(self) -> bytes:
        """Return the start of the message."""
        return _event(id=self._job.id, delta={"message": {"role": "assistant"}}, type="message-start")

    def event(self, choice: Choice, text: str) -> bytes:
        """Return what the newest token adds; nothing when it shows nothing."""
        if not text:
            return b""
        delta = _event(index=0, delta={"message": {"content": {"text": text}}}, type="content-delta")
        if self._open:
            return delta
        self._open = True
        start = {"message": {"content": {"text": "", "type": "text"}}}
        return _event(index=0, delta=start, type="content-start") + delta

    def closing(self) -> bytes:
        """Return the end of the message, with its usage, and the end mark."""
        job = self._job
        end = _event(index=0, type="content-end") if self._open else b""
        delta = {"finish_reason": _reason(job.choices[0]), "usage": self._usage()}
        return end + _event(id=job.id, delta=delta, type="message-end") + DONE

    def failure(self, error: ApiError) -> bytes:
        """Return the end of the message with the error, and the end mark."""
        return _event(type="message-end", delta={"error": error.message, "finish_reason": "ERROR"}) + DONE

    def keep(self, choice: Choice) -> None:
        """Do nothing: the choice holds its text."""

    def body(self) -> bytes:
        """Return the whole answer."""
        job, choice = self._job, self._job.choices[0]
        message: dict[str, Any] = {"role": "assistant"}
        if choice.text:
            message["content"] = [{"type": "text", "text": choice.text}]
        whole = {"id": job.id, "finish_reason": _reason(choice), "message": message, "usage": self._usage()}
        return msgspec.json.encode(whole)

    def _usage(self) -> dict[str, Any]:
        """Return Cohere's figures, which are floats."""
        job = self._job
        figures = {"input_tokens": float(job.prompt_tokens), "output_tokens": float(job.generated)}
        details = {"cached_tokens": float(job.choices[0].hit.cached)} if job.show_details else {}
        return {"billed_units": figures, "tokens": figures, **details}


def _event(**fields: object) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(fields)


def _reason(choice: Choice) -> str:
    if choice.finish == "length":
        return "MAX_TOKENS"
    return "COMPLETE" if choice.stop is None else "STOP_SEQUENCE"
