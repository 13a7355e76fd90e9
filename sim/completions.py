"""Answers of `/v1/completions`: structs in vLLM's order of keys, with the nulls that it writes."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from sim import logprobs
from sim.answers import DONE, FINGERPRINT, Job, PromptDetails, Usage, broken, frame, of_choice, totals
from sim.checks import check
from sim.engine import Choice
from sim.errors import ApiError
from sim.logprobs import CompletionLogprobs
from sim.requests import CompletionRequest
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site


def completion(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/v1/completions`."""
    body = site.read(CompletionRequest, request)
    check(body, site.models)
    job = site.job("cmpl-", request, body.prompts(), body.wish)
    return site.generate(job, request, lambda job: CompletionFormat(job, body), connection)


class ChunkChoice(msgspec.Struct, kw_only=True):
    """A choice in a chunk."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: str | None
    stop_reason: str | None
    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None


class Chunk(msgspec.Struct, kw_only=True):
    """One event of a stream."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType = UNSET
    system_fingerprint: str | UnsetType = UNSET


class AnswerChoice(msgspec.Struct, kw_only=True):
    """A choice of a whole answer."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    stop_reason: str | None
    token_ids: list[int] | None
    prompt_logprobs: list[dict[str, Any] | None] | None
    prompt_token_ids: list[int] | None
    routed_experts: None = None


class Answer(msgspec.Struct, kw_only=True):
    """A whole answer."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[AnswerChoice]
    service_tier: None = None
    system_fingerprint: str = FINGERPRINT
    usage: Usage
    kv_transfer_params: None = None
    ec_transfer_params: None = None
    metrics: None = None


class CompletionFormat:
    """Writes the answer to one prompt or several."""

    def __init__(self, job: Job, request: CompletionRequest) -> None:
        self._job = job
        self._include_usage: Final = request.include_usage
        self._continuous: Final = request.continuous_usage
        self._top: Final = request.logprobs
        self._echo: Final = bool(request.echo)
        self._show_ids: Final = bool(request.return_token_ids)
        self._parts: list[list[CompletionLogprobs]] = [self._echoed(choice) for choice in job.choices]
        self._ids: list[list[int]] = [[] for _ in job.choices]

    def opening(self) -> bytes:
        """Return nothing: a completion starts with its first token."""
        return b""

    def event(self, choice: Choice, text: str) -> bytes:
        """Return the chunk of the newest token; the first one carries the echoed prompt."""
        first = choice.generated == 1
        shown = ChunkChoice(
            index=choice.index,
            text=choice.prompt.text + text if self._echo and first else text,
            finish_reason=choice.finish,
            stop_reason=choice.stop,
        )
        if self._top is not None:
            part = logprobs.completion_token(choice, self._top, self._offset(choice))
            shown.logprobs = logprobs.join([*self._parts[choice.index], part]) if first else part
        if first and (self._show_ids or self._echo):
            shown.prompt_token_ids = choice.prompt.ids
        if self._show_ids:
            shown.token_ids = [choice.token]
        job = self._job
        chunk = Chunk(id=job.id, created=job.created, model=job.model, choices=[shown])
        if self._continuous:
            chunk.usage = of_choice(choice)
        if choice.finish is not None and not self._include_usage:
            chunk.system_fingerprint = FINGERPRINT
        return frame(chunk)

    def closing(self) -> bytes:
        """Return the chunk with the sums, which has no choices, if it is asked for, and the end mark."""
        job = self._job
        if not self._include_usage:
            return DONE
        usage = totals(job)
        if job.show_details:
            usage.prompt_tokens_details = PromptDetails(cached_tokens=job.choices[-1].hit.cached)
        chunk = Chunk(id=job.id, created=job.created, model=job.model, choices=[], usage=usage)
        chunk.system_fingerprint = FINGERPRINT
        return frame(chunk) + DONE

    def failure(self, error: ApiError) -> bytes:
        """Return the error and the end mark."""
        return broken(error)

    def keep(self, choice: Choice) -> None:
        """Remember the newest token's id and likelihood if they are asked for."""
        if self._show_ids:
            self._ids[choice.index].append(choice.token)
        if self._top is not None:
            self._parts[choice.index].append(logprobs.completion_token(choice, self._top, self._offset(choice)))

    def body(self) -> bytes:
        """Return the whole answer."""
        job = self._job
        usage = totals(job)
        usage.prompt_tokens_details = usage.completion_tokens_details = None
        if job.show_details:
            usage.prompt_tokens_details = PromptDetails(
                cached_tokens=job.choices[-1].hit.cached, created_cache_tokens=None, multimodal_tokens=None
            )
        choices = [self._choice(choice) for choice in job.choices]
        answer = Answer(id=job.id, created=job.created, model=job.model, choices=choices, usage=usage)
        return msgspec.json.encode(answer)

    def _choice(self, choice: Choice) -> AnswerChoice:
        prompt = choice.prompt
        details = logprobs.prompt_details(prompt, self._top) if self._echo and self._top is not None else None
        return AnswerChoice(
            index=choice.index,
            text=prompt.text + choice.text if self._echo else choice.text,
            logprobs=logprobs.join(self._parts[choice.index]) if self._top is not None else None,
            finish_reason=choice.finish,
            stop_reason=choice.stop,
            token_ids=self._ids[choice.index] if self._show_ids else None,
            prompt_logprobs=details,
            prompt_token_ids=prompt.ids if self._show_ids else None,
        )

    def _echoed(self, choice: Choice) -> list[CompletionLogprobs]:
        if not self._echo or self._top is None:
            return []
        return [logprobs.prompt_tokens(choice.prompt, self._top)]

    def _offset(self, choice: Choice) -> int:
        """Where the newest token stands in the answer, the echoed prompt included."""
        before = len(choice.prompt.text) if self._echo else 0
        return before + max(len(choice.text) - len(choice.word), 0)
