"""Every recorded exchange with real vLLM, of whatever endpoint, through the lane: the same bytes, and usage as it reported.

Nothing here knows a recording by name: what to expect is read from its body.
"""

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from contracts.events import UsageData
from proxy.dialects import table
from proxy.dialects.tokenize import Tokenizer
from tests.proxy import recorded
from tests.proxy.memory import Bench, responses
from tests.proxy.recorded import Recorded

EVERY = [one for one in recorded.every() if not one.cut]
HERE = {"chat", "completions", "embeddings", "embed", "pooling", "classify", "score", "rerank", "generative_scoring"}


def replay(one: Recorded, *cuts: int) -> tuple[Bench, int, list[tuple[bytes, bytes]], bytes]:
    """Send the recorded request, let vLLM give the recorded answer in pieces; return what the client got."""
    bench, wire = Bench(), one.wire()
    bench.send(one.wire_request())
    if bench.upstream.written:
        bench.answer(*[wire[start:end] for start, end in pairwise([0, *cuts, len(wire)])])
    (response,) = responses(bench.client.take(), method=one.method)
    assert response.whole
    return bench, response.status, response.headers, response.body


def refused_by_us(one: Recorded) -> bool:
    """Whether the proxy answers in vLLM's place.

    So it does for what vLLM would refuse too, for paths that are closed, others' responses, and what reports no usage.
    """
    route = table.find(one.path.encode())
    others = b"/resp_" in one.path.encode() or b'"previous_response_id"' in one.request
    silent = one.path == "/v1/audio/translations" and not one.streamed
    return route is None or others or silent or one.status in (400, 404, 405, 415, 422)


def reported(one: Recorded) -> dict[str, int | None] | None:
    """Return the usage that a recorded answer holds, by the names of an event; None: it holds none."""
    documents: list[Any] = [one.body] if not one.streamed else [event[6:] for event in recorded.events(one.body)[:-1]]
    header = dict(one.headers).get(b"metadata")
    if header is not None:
        documents = [header]
    elif dict(one.headers).get(b"content-type") == b"application/octet-stream":
        return None
    last = msgspec.json.decode(documents[-1])
    usage = last.get("usage") or {}
    if "meta" in last:
        billed = last["meta"]["billed_units"]
        usage = {"prompt_tokens": billed["input_tokens"] + billed["image_tokens"]}
    if not usage:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return {
        "input_tokens": usage.get("prompt_tokens"),
        "output_tokens": usage.get("completion_tokens"),
        "cache_read_input_tokens": cached,
    }


def check(usage: UsageData, one: Recorded) -> None:
    counts = {name: getattr(usage, name) for name in ("input_tokens", "output_tokens", "cache_read_input_tokens")}
    nothing: dict[str, int | None] = dict.fromkeys(counts)
    assert (usage.status, usage.upstream_status) == (one.status, one.status)
    assert usage.outcome == ("completed" if one.status < 500 else "upstream_error")
    if one.status != 200:
        assert (counts, usage.accuracy) == (nothing, "exact" if one.status < 500 else "unknown")
        return
    route = table.find(one.path.encode())
    assert route is not None
    if isinstance(route[0].dialect, Tokenizer):
        assert (counts, usage.accuracy) == (nothing, "exact")
    elif usage.dialect in HERE:
        expected = reported(one)
        assert (counts, usage.accuracy) == (expected or nothing, "exact" if expected else "unknown")
    assert usage.response_bytes == len(one.body)


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name)
def test_bytes_and_usage(one: Recorded) -> None:
    wire = one.wire()
    step = max(len(wire) // 60, 1)
    for cut in [1, *range(2, len(wire), step)]:
        bench, status, headers, body = replay(one, cut)
        if not bench.upstream.written:
            assert refused_by_us(one)
            assert 400 <= status < 500
            assert not bench.recorder.opens
            return
        assert (status, body) == (one.status, one.body)
        hidden = {b"x-request-id", b"request-id", b"connection"}
        assert [field for field in headers if field[0] not in hidden] == [
            field for field in one.headers if field[0] not in hidden
        ]
        route = table.find(one.path.encode())
        assert route is not None
        if route[0].dialect is None:
            assert not bench.recorder.decisions
        else:
            assert [decision.decision for decision in bench.recorder.decisions] == ["admitted"]
            check(bench.usage, one)


def test_the_recordings_hold_something_of_every_dialect_here() -> None:
    routes = [table.find(one.path.encode()) for one in EVERY if one.status == 200]
    seen = {route[0].dialect.name for route in routes if route is not None and route[0].dialect is not None}
    assert seen >= HERE - {"generative_scoring"} | {"tokenize", "detokenize"}
