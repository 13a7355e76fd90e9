"""Answers of `/v1/chat/completions`: structs in vLLM's order of keys, with the nulls that it writes."""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from sim import logprobs
from sim.answers import DONE, FINGERPRINT, Job, PromptDetails, Usage, broken, frame, of_choice, totals
from sim.checks import check
from sim.engine import Choice
from sim.errors import ApiError
from sim.logprobs import ChatLogprobs, ChatToken
from sim.requests import ChatFields, ChatRequest
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site


def chat(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/v1/chat/completions`."""
    body = site.read(ChatRequest, request)
    check(body, site.models)
    job = site.job("chatcmpl-", request, body.prompts(), body.wish)
    return site.generate(job, request, lambda job: ChatFormat(job, body), connection)


class Delta(msgspec.Struct, kw_only=True):
    """What a chunk adds."""

    role: str | UnsetType = UNSET
    content: str


class ChunkChoice(msgspec.Struct, kw_only=True):
    """A choice in a chunk; the first of each choice has no `token_ids`, only the last a `stop_reason`."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | UnsetType | None = UNSET
    token_ids: list[int] | UnsetType | None = UNSET


class Chunk(msgspec.Struct, kw_only=True):
    """One event of a stream."""

    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType | None = UNSET
    prompt_text: UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET


class Message(msgspec.Struct, kw_only=True):
    """The assistant's message."""

    role: str = "assistant"
    content: str
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    reasoning: None = None


class AnswerChoice(msgspec.Struct, kw_only=True):
    """A choice of a whole answer."""

    index: int
    message: Message
    logprobs: ChatLogprobs | None
    finish_reason: str | None
    stop_reason: str | None
    token_ids: list[int] | None
    routed_experts: None = None


class Answer(msgspec.Struct, kw_only=True):
    """A whole answer."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[AnswerChoice]
    service_tier: None = None
    system_fingerprint: str = FINGERPRINT
    usage: Usage
    prompt_logprobs: None = None
    prompt_token_ids: list[int] | None
    prompt_text: None = None
    kv_transfer_params: None = None
    ec_transfer_params: None = None
    metrics: None = None


class ChatFormat:
    """Writes one chat's answer."""

    def __init__(self, job: Job, request: ChatFields) -> None:
        self.job = job
        self._include_usage: Final = request.include_usage
        self._continuous: Final = request.continuous_usage
        self._top: Final = (request.top_logprobs or 0) if request.logprobs else None
        self._show_ids: Final = bool(request.return_token_ids)
        self._tokens: list[list[ChatToken]] = [[] for _ in job.choices]
        self._ids: list[list[int]] = [[] for _ in job.choices]

    def opening(self) -> bytes:
        """Return a chunk for each choice that names the role."""
        return b"".join(map(self._greeting, self.job.choices))

    def event(self, choice: Choice, text: str) -> bytes:
        """Return the chunk of the newest token."""
        chunk = self._chunk(choice, Delta(content=text))
        shown = chunk.choices[0]
        shown.token_ids = [choice.token] if self._show_ids else None
        if self._top is not None:
            shown.logprobs = ChatLogprobs([logprobs.chat_token(choice, self._top)])
        if choice.finish is not None:
            shown.finish_reason = choice.finish
            shown.stop_reason = choice.stop
            if not self._include_usage:
                chunk.system_fingerprint = FINGERPRINT
        return frame(chunk)

    def closing(self) -> bytes:
        """Return the chunk with the sums, which has no choices, if it is asked for, and the end mark."""
        job = self.job
        if not self._include_usage:
            return DONE
        usage = totals(job)
        if job.show_details:
            hit = job.choices[-1].hit
            usage.prompt_tokens_details = PromptDetails(cached_tokens=hit.cached, created_cache_tokens=hit.created)
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
            self._tokens[choice.index].append(logprobs.chat_token(choice, self._top))

    def body(self) -> bytes:
        """Return the whole answer."""
        job = self.job
        return msgspec.json.encode(
            Answer(
                id=job.id,
                created=job.created,
                model=job.model,
                choices=[self._choice(choice) for choice in job.choices],
                usage=self.usage(),
                prompt_token_ids=self.prompt_ids(),
            )
        )

    def usage(self) -> Usage:
        """Return the usage of a whole answer."""
        job = self.job
        usage = totals(job)
        usage.prompt_tokens_details = usage.completion_tokens_details = None
        if job.show_details:
            hit = job.choices[-1].hit
            usage.prompt_tokens_details = PromptDetails(
                cached_tokens=hit.cached, created_cache_tokens=hit.created, multimodal_tokens=None
            )
        return usage

    def prompt_ids(self) -> list[int] | None:
        """Return the prompt's ids if they are asked for."""
        return self.job.prompts[0].ids if self._show_ids else None

    def _greeting(self, choice: Choice) -> bytes:
        chunk = self._chunk(choice, Delta(role="assistant", content=""))
        chunk.prompt_token_ids = choice.prompt.ids if self._show_ids else None
        chunk.prompt_text = None
        return frame(chunk)

    def _chunk(self, choice: Choice, delta: Delta) -> Chunk:
        job = self.job
        shown = ChunkChoice(index=choice.index, delta=delta)
        chunk = Chunk(id=job.id, created=job.created, model=job.model, choices=[shown])
        if self._continuous:
            chunk.usage = of_choice(choice)
            chunk.usage.completion_tokens_details = None
        return chunk

    def _choice(self, choice: Choice) -> AnswerChoice:
        return AnswerChoice(
            index=choice.index,
            message=Message(content=choice.text),
            logprobs=ChatLogprobs(self._tokens[choice.index]) if self._top is not None else None,
            finish_reason=choice.finish,
            stop_reason=choice.stop,
            token_ids=self._ids[choice.index] if self._show_ids else None,
        )
