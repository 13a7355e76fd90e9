"""`/inference/v1/generate`: ids in, ids out, for servers that leave the tokenizer to others."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from sim.answers import DONE, Job, PromptDetails, Usage, broken, frame, of_choice, totals
from sim.checks import sampling, served_here
from sim.engine import Choice
from sim.errors import ApiError, invalid
from sim.prefix import Prompt
from sim.requests import StreamOptions, Wish, stops
from sim.server import Connection, HttpRequest
from sim.site import Answering, Site


class Sampling(msgspec.Struct, kw_only=True):
    """vLLM's sampling parameters, as far as they change what is counted."""

    n: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    seed: int | None = None
    temperature: float | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool = False


class GenerateRequest(msgspec.Struct, kw_only=True):
    """A prompt in ids."""

    token_ids: list[int]
    sampling_params: Sampling
    model: str | None = None
    request_id: str | None = None
    output_mode: Literal["tokens", "text"] = "tokens"
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    cache_salt: str | None = None
    return_token_ids: bool | None = None


class Shown(msgspec.Struct, kw_only=True):
    """A choice, whole or in a chunk."""

    index: int
    finish_reason: str | None = None
    stop_reason: str | None = None
    token_ids: list[int]
    routed_experts: None = None
    sampling_mask: None = None
    weight_versions: list[dict[str, str | int]] | None = None
    text: str | UnsetType = UNSET
    logprobs: None = None


class Chunk(msgspec.Struct, kw_only=True):
    """One event of a stream."""

    request_id: str
    usage: Usage | None = None
    prompt_token_ids: list[int] | UnsetType = UNSET
    output_mode: str
    choices: list[Shown]


class Answer(msgspec.Struct, kw_only=True):
    """A whole answer."""

    request_id: str
    model: str
    created: int
    usage: Usage
    prompt_logprobs: None = None
    prompt_token_id_logprobs: None = None
    prompt_token_ids: list[int] | None = None
    mm_placeholders: None = None
    metrics: None = None
    kv_transfer_params: None = None
    ec_transfer_params: None = None
    output_mode: str
    choices: list[Shown]


def generate(site: Site, request: HttpRequest, connection: Connection) -> Answering:
    """Answer `/inference/v1/generate`."""
    body = site.read(GenerateRequest, request)
    if body.stream_options is not None and not body.stream:
        raise invalid("Stream options can only be defined when `stream=True`.", "stream_options")
    if not body.token_ids:
        raise ApiError(
            "1 validation error:\n  token_ids must not be empty", "Bad Request", "body.token_ids", early=True
        )
    served_here(body.model, site.models)
    given = body.sampling_params
    sampling(given.n, given.temperature)
    wish = Wish(
        stream=bool(body.stream),
        choices=given.n,
        max_tokens=given.max_tokens,
        min_tokens=given.min_tokens,
        seed=given.seed,
        stops=stops(given.stop),
        ignore_eos=given.ignore_eos,
    )
    job = site.job("generate-tokens-", request, [Prompt(body.token_ids, body.cache_salt or "")], wish)
    if body.request_id is not None and b"x-request-id" not in request.headers:
        job.id = f"generate-tokens-{body.request_id}"
    return site.generate(job, request, lambda job: GenerateFormat(job, body), connection)


class GenerateFormat:
    """Writes ids, and in text mode also what they say. Log probabilities are not made up here."""

    def __init__(self, job: Job, request: GenerateRequest) -> None:
        self._job = job
        options = request.stream_options or StreamOptions()
        self._include_usage = bool(options.include_usage)
        self._continuous = self._include_usage and bool(options.continuous_usage_stats)
        self._mode = request.output_mode
        self._prompt_ids = request.token_ids if request.return_token_ids else None
        self._ids: list[list[int]] = [[] for _ in job.choices]

    def opening(self) -> bytes:
        """Return nothing: a stream starts with its first token."""
        return b""

    def event(self, choice: Choice, text: str) -> bytes:
        """Return the chunk of the newest token; the first of all carries the prompt's ids if they are asked for."""
        chunk = Chunk(
            request_id=self._job.id, output_mode=self._mode, choices=[self._shown(choice, [choice.token], text)]
        )
        if self._continuous:
            chunk.usage = of_choice(choice)
            chunk.usage.prompt_tokens_details = chunk.usage.completion_tokens_details = None
        if self._prompt_ids is not None:
            chunk.prompt_token_ids, self._prompt_ids = self._prompt_ids, None
        return frame(chunk)

    def closing(self) -> bytes:
        """Return the chunk with the sums, if it is asked for, and the end mark."""
        if not self._include_usage:
            return DONE
        job = self._job
        usage = totals(job)
        if job.show_details:
            usage.prompt_tokens_details = PromptDetails(cached_tokens=job.choices[-1].hit.cached)
        return frame(Chunk(request_id=job.id, usage=usage, output_mode=self._mode, choices=[])) + DONE

    def failure(self, error: ApiError) -> bytes:
        """Return the error and the end mark."""
        return broken(error)

    def keep(self, choice: Choice) -> None:
        """Remember the newest token's id."""
        self._ids[choice.index].append(choice.token)

    def body(self) -> bytes:
        """Return the whole answer."""
        job = self._job
        usage = totals(job)
        usage.prompt_tokens_details = usage.completion_tokens_details = None
        if job.show_details:
            cached = job.choices[-1].hit.cached
            details = PromptDetails(cached_tokens=cached, created_cache_tokens=None, multimodal_tokens=None)
            usage.prompt_tokens_details = details
        answer = Answer(
            request_id=job.id,
            model=job.model,
            created=job.created,
            usage=usage,
            prompt_token_ids=self._prompt_ids,
            output_mode=self._mode,
            choices=[self._shown(choice, self._ids[choice.index], choice.text) for choice in job.choices],
        )
        return msgspec.json.encode(answer)

    def _shown(self, choice: Choice, ids: list[int], text: str) -> Shown:
        shown = Shown(index=choice.index, finish_reason=choice.finish, stop_reason=choice.stop, token_ids=ids)
        if choice.finish is not None:
            shown.weight_versions = [{"version": "default", "start": 0, "end": choice.generated}]
        if self._mode == "text":
            shown.text = text
        return shown
