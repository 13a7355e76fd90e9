"""The exchanges recorded from real vLLM in `tests/transcripts`, and a comparison with what a server answers now."""

import json  # noqa: TID251  # bytes that are no UTF-8 stand as lone surrogates, which msgspec refuses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "transcripts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@dataclass(frozen=True)
class Recording:
    """One exchange: the request as it was sent, the answer as it came, without its chunked framing."""

    name: str
    method: str
    path: str
    request_headers: list[tuple[str, str]]
    request_body: bytes
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    cut_after: int | None

    @property
    def streamed(self) -> bool:
        """Whether the answer is an event stream."""
        return ("content-type", "text/event-stream; charset=utf-8") in self.headers


def load(name: str) -> Recording:
    """Read a recording by name, such as `chat_unary`."""
    raw = json.loads((FOLDER / f"{name}.json").read_text())
    request, response = raw["request"], raw["response"]
    return Recording(
        name=name,
        method=request["method"],
        path=request["path"],
        request_headers=list(request["headers"].items()),
        request_body=request["body"].encode("utf-8", "surrogateescape"),
        status=response["status"],
        headers=[(key, value) for key, value in response["headers"]],
        body=response["body"].encode("utf-8", "surrogateescape"),
        cut_after=raw.get("client_closed_after_bytes"),
    )


def named_events(body: bytes) -> list[tuple[str, bytes]]:
    """Return the name, often empty, and the data of each whole event of a stream."""
    found = []
    for event in events(body):
        name, _, data = event.rpartition(b"\ndata: ") if event.startswith(b"event: ") else (b"", b"", event)
        found.append((name.removeprefix(b"event: ").decode(), data))
    return found


def events(body: bytes) -> list[bytes]:
    """Return what stands after `data: ` in each whole event of a stream."""
    whole = body[: body.rfind(b"\n\n") + 2]
    return [event.removeprefix(b"data: ") for event in whole.split(b"\n\n") if event]


FREE = {
    *("id", "created", "content", "text", "token", "tokens", "bytes", "logprob", "token_logprobs", "top_logprobs"),
    *("text_offset", "prompt_logprobs", "system_fingerprint", "root", "prompt", "count"),
    *("prompt_tokens", "total_tokens", "cached_tokens", "created_cache_tokens"),
    *("embedding", "float", "binary", "ubinary", "base64", "score", "relevance_score", "probs", "label"),
    *("input_tokens", "original_input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    *("cache_write_tokens", "created_at", "item_id", "request_id", "sequence_number", "token_ids"),
}
"""Fields whose values differ by server: only the type must agree, and below them the shape of what is there."""

FREE_LEAVES = {"data", "delta"}
"""Fields that are free where they hold a text or a vector, and not where they hold an object."""
FREE_LISTS = {"logprobs", "segments"}
"""Fields that are free where they hold a list, and not where they hold an object."""


def differences(expected: Any, given: Any, place: str = "$", free: bool = False) -> list[str]:
    """Compare two JSON values: names and their order, types and nulls, and the values of all fields but the free ones."""
    if type(expected) is not type(given):
        return [f"{place}: {given!r} is no {type(expected).__name__} like {expected!r}"]
    if isinstance(expected, dict):
        if list(expected) != list(given) and not free:
            return [f"{place}: fields {list(given)}, not {list(expected)}"]
        pairs = zip(expected.items(), given.items(), strict=False)
        found = [differences(a, b, f"{place}.{name}", free or _is_free(name, a)) for (name, a), (_, b) in pairs]
    elif isinstance(expected, list):
        if len(expected) != len(given) and not free:
            return [f"{place}: {len(given)} items, not {len(expected)}"]
        found = [
            differences(a, b, f"{place}[{i}]", free) for i, (a, b) in enumerate(zip(expected, given, strict=False))
        ]
    else:
        return [] if free or expected == given else [f"{place}: {given!r}, not {expected!r}"]
    return [line for lines in found for line in lines]


def _is_free(name: str, value: Any) -> bool:
    vector = isinstance(value, list) and all(isinstance(item, float) for item in value)
    leaf = name in FREE_LEAVES and (vector or isinstance(value, str))
    return leaf or name in FREE or (name in FREE_LISTS and isinstance(value, list))
