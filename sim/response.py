"""What a client asks of `/v1/responses`, and the response object, which is sent whole in each of its states."""

from typing import Any

import msgspec

from sim.answers import Job
from sim.requests import Message, Part, Wish, stops


class Item(msgspec.Struct):
    """An item of an input; what is no message has no role."""

    role: str | None = None
    content: str | list[Part] | None = None


class ResponsesRequest(msgspec.Struct, kw_only=True):
    """A request; the fields that only come back in the answer are taken as they are."""

    model: str | None = None
    input: str | list[Item]
    instructions: str | None = None
    max_output_tokens: int | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    request_id: str | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None
    cache_salt: str | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    metadata: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    top_p: float | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = None
    reasoning: dict[str, Any] | None = None
    service_tier: str | None = None
    text: dict[str, Any] | None = None
    truncation: str | None = None
    user: str | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    @property
    def wish(self) -> Wish:
        """What it wants of the engine."""
        return Wish(
            stream=bool(self.stream),
            max_tokens=self.max_output_tokens,
            seed=self.seed,
            stops=stops(self.stop),
            ignore_eos=bool(self.ignore_eos),
        )

    def chat(self, before: list[Message]) -> list[Message]:
        """Return the messages: the instructions, what was said before, and the input."""
        system = [] if self.instructions is None else [Message("system", self.instructions)]
        if isinstance(self.input, str):
            return [*system, *before, Message("user", self.input)]
        return [*system, *before, *(Message(item.role, item.content) for item in self.input if item.role is not None)]


def response(
    job: Job, request: ResponsesRequest, status: str, limit: int, output: tuple[Any, ...] = (), *, used: bool = False
) -> dict[str, Any]:
    """Return the response object; `limit` are the tokens it may have, and usage is told when `used` is set."""
    tools = [_tool(tool) for tool in request.tools or []]
    return {
        "id": job.id,
        "created_at": job.created,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": request.instructions,
        "metadata": request.metadata,
        "model": job.model,
        "object": "response",
        "output": list(output),
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "tool_choice": (request.tool_choice or "auto") if tools else "none",
        "tools": tools,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "background": bool(request.background),
        "max_output_tokens": limit,
        "max_tool_calls": request.max_tool_calls,
        "previous_response_id": request.previous_response_id,
        "prompt": None,
        "reasoning": request.reasoning,
        "service_tier": request.service_tier or "auto",
        "status": status,
        "text": request.text,
        "top_logprobs": request.top_logprobs,
        "truncation": request.truncation or "disabled",
        "usage": _usage(job) if used else None,
        "user": request.user,
        "presence_penalty": request.presence_penalty or 0.0,
        "frequency_penalty": request.frequency_penalty or 0.0,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "input_messages": None,
        "output_messages": None,
    }


def _usage(job: Job) -> dict[str, Any]:
    hit = job.choices[0].hit
    return {
        "input_tokens": job.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": hit.cached,
            "cache_write_tokens": hit.created,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": job.generated,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": job.prompt_tokens + job.generated,
    }


def _tool(given: dict[str, Any]) -> dict[str, Any]:
    """Return a function as the SDK's own type writes it; other tools come back as they are."""
    if given.get("type") != "function":
        return given
    names = ("name", "parameters", "strict", "type", "allowed_callers", "async", "defer_loading", "description")
    return {name: given.get(name) for name in (*names, "output_schema")}
