"""Recorded answers of vLLM's other APIs that generate text, through the lane: same bytes, and usage in our one meaning."""

import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import UsageData
from tests.proxy import recorded
from tests.proxy.memory import Bench, responses
from tests.proxy.recorded import Recorded, load

PATHS = (
    "/v1/responses",
    "/v1/messages",
    "/v1/chat/completions/batch",
    "/inference/v1/generate",
    "/cohere/v2/chat",
    "/invocations",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
)
EVERY = [one for one in recorded.every() if one.path in PATHS and b'"previous_response_id"' not in one.request]
WHOLE = [one for one in EVERY if one.status == 200 and not one.cut and (one.streamed or "/audio/" not in one.path)]
CUT = [one for one in EVERY if one.cut]


def run(one: Recorded, wire: bytes, *cuts: int, bench: Bench | None = None) -> tuple[Bench, bytes]:
    """Send the recorded request, let vLLM answer in pieces; return what the client got."""
    bench = Bench() if bench is None else bench
    bench.forget()
    bench.send(one.wire_request())
    assert bench.upstream.written, bench.client.written
    bench.answer(*[wire[start:end] for start, end in pairwise([0, *cuts, len(wire)])])
    (response,) = responses(bench.client.take())
    assert (response.status, response.whole) == (one.status, True)
    return bench, response.body


def last_usage(one: Recorded) -> dict[str, Any]:
    """Return the last `usage` object of a body, wherever it stands."""
    documents = [one.body]
    if one.streamed:
        lines = one.body.split(b"\n")
        documents = [line[6:] for line in lines if line.startswith(b"data: {") and b'"usage":{' in line]
    if not documents:
        return {}
    found: dict[str, Any] = msgspec.json.decode(documents[-1])
    for inner in ("response", "delta"):
        found = found[inner] if "usage" in (found.get(inner) or {}) else found
    usage: dict[str, Any] = found["usage"]
    return usage


def expected(one: Recorded) -> tuple[int, int, int | None] | None:
    """Return input with all that was cached, output, and what was cached, as the recorded answer says."""
    usage = last_usage(one)
    if not usage:
        return None
    if "tokens" in usage:  # Cohere
        return usage["tokens"]["input_tokens"], usage["tokens"]["output_tokens"], usage["cached_tokens"]
    if "prompt_tokens" in usage:
        details = usage.get("prompt_tokens_details") or {}
        return usage["prompt_tokens"], usage["completion_tokens"], details.get("cached_tokens")
    if "input_tokens_details" in usage:
        return usage["input_tokens"], usage["output_tokens"], usage["input_tokens_details"]["cached_tokens"]
    cached, created = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    return usage["input_tokens"] + cached + created, usage["output_tokens"], cached


def counted(usage: UsageData) -> tuple[int | None, int | None, int | None]:
    return usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens


@pytest.mark.parametrize("one", WHOLE, ids=lambda one: one.name)
def test_bytes_and_usage_at_every_cut(one: Recorded) -> None:
    bench, wire = Bench(), one.wire()
    for cut in range(1, len(wire), 1 + len(wire) // 300):
        _, body = run(one, wire, cut, bench=bench)
        assert body == one.body
        usage = bench.usage
        assert counted(usage) == (expected(one) or (None, None, None))
        assert usage.accuracy == ("exact" if expected(one) else "unknown")
        assert (usage.outcome, usage.response_bytes) == ("completed", len(one.body))
        assert usage.finish_reason
        assert usage.response_id
    assert usage.first_token_at is not None or not one.streamed


@pytest.mark.parametrize("one", WHOLE, ids=lambda one: one.name)
def test_byte_by_byte(one: Recorded) -> None:
    wire = one.wire(chunk=11) if one.streamed else one.wire()
    bench, body = run(one, wire, *range(1, len(wire)))
    assert body == one.body
    assert counted(bench.usage) == (expected(one) or (None, None, None))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([one for one in WHOLE if one.streamed]), st.data())
def test_boundaries_mean_nothing(one: Recorded, data: st.DataObject) -> None:
    wire = one.wire(chunk=data.draw(st.integers(1, 700)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=20)))
    bench, body = run(one, wire, *cuts)
    assert body == one.body
    assert counted(bench.usage) == (expected(one) or (None, None, None))


def test_the_figures_are_those_that_were_seen() -> None:
    """So that this test's own reading of a body is right too."""
    assert expected(load("messages_stream_cached_prefix_hit")) == (497, 12, 384)
    assert expected(load("messages_unary_cached_prefix_hit")) == (497, 12, 384)
    assert expected(load("responses_stream")) == (33, 12, 0)
    assert expected(load("cohere_chat_stream")) == (37, 12, 0)
    assert expected(load("chat_batch")) == (53, 18, None)
    assert expected(load("generate_unary_text_n2")) == (5, 16, 0)
    assert expected(load("generate_stream_plain")) is None
    assert expected(load("transcription_stream_continuous_usage")) == (3304, 24, None)


_ID = re.compile(rb'"(?:request_)?id":"[^"]*"|"created":\d+')


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("generate_stream_plain", "generate_stream_continuous_usage"),
        ("generate_stream_include_usage", "generate_stream_continuous_usage"),
        ("generate_stream_continuous_usage", "generate_stream_continuous_usage"),
        ("generate_stream_n2_plain", "generate_stream_n2_continuous_usage"),
        ("transcription_stream_plain", "transcription_stream_continuous_usage"),
        ("transcription_stream_include_usage", "transcription_stream_continuous_usage"),
        ("translation_stream_plain", "translation_stream_continuous_usage"),
    ],
)
def test_usage_that_was_asked_for_behind_the_clients_back_is_taken_out(asked: str, sent: str) -> None:
    one, answer = load(asked), load(sent).body
    total = expected(load(sent))
    wire, bench = one.wire(answer), Bench()
    for cut in range(1, len(wire), 7):
        _, body = run(one, wire, cut, bench=bench)
        # two choices come in no fixed order
        assert sorted(recorded.events(_ID.sub(b"", body))) == sorted(recorded.events(_ID.sub(b"", one.body)))
        assert counted(bench.usage) == total
        assert bench.usage.accuracy == "exact"
    sent_up = bytes(bench.upstream.written)
    for option in (b"include_usage", b"continuous_usage_stats"):
        assert re.search(option + rb'"(?:: ?true|\r\n\r\ntrue)', sent_up)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("transcription_unary", 1),
        ("transcription_unary_text", 1),
        ("transcription_unary_verbose", 1),
        ("translation_unary_verbose", 1),
    ],
)
def test_sound_is_counted_in_seconds(name: str, seconds: float) -> None:
    one = load(name)
    wire, bench = one.wire(), Bench()
    for cut in range(1, len(wire), 13):
        _, body = run(one, wire, cut, bench=bench)
        assert body == one.body
        usage = bench.usage
        assert (usage.audio_seconds, usage.accuracy, *counted(usage)) == (seconds, "exact", None, None, None)


def test_tokens_of_a_cut_stream_are_exact() -> None:
    """Token ids come with usage in every event: nothing is estimated."""
    one = load("generate_stream_n2_plain")
    pieces = recorded.events(load("generate_stream_n2_continuous_usage").body)[:7]
    bench = leave(one, pieces)
    assert counted(bench.usage) == (5, sum(b'"token_ids":[' in piece for piece in pieces), None)
    assert bench.usage.accuracy == "exact"


def leave(one: Recorded, pieces: list[bytes]) -> Bench:
    """Send a request; the client leaves after some events, and vLLM notices at once."""
    bench = Bench()
    bench.send(one.wire_request())
    head = one.wire(b"").removesuffix(b"0\r\n\r\n")
    bench.answer(head, *[b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces])
    bench.client.lose()
    bench.upstream.lose()
    assert bench.usage.outcome == "client_closed"
    return bench


def word_of(piece: bytes) -> str | None:
    """Return the text that an event of a stream carries, None where it is of another kind."""
    found = msgspec.json.decode(piece[piece.index(b"data: ") + 6 :])
    if found["type"] in ("message_delta", "message-end") or not found["type"].endswith("delta"):
        return None
    delta = found["delta"]
    return delta if isinstance(delta, str) else delta.get("text") or delta["message"]["content"]["text"]


@pytest.mark.parametrize("one", CUT, ids=lambda one: one.name)
def test_a_cut_stream_is_estimated_by_its_pieces(one: Recorded) -> None:
    pieces = recorded.events(one.body[: one.body.rindex(b"\n\n") + 2])
    prompt = 37 if one.path == "/v1/messages" else None  # no other API says it before the end
    for left_after in range(1, len(pieces)):
        usage = leave(one, pieces[:left_after]).usage
        words = [word for word in map(word_of, pieces[:left_after]) if word is not None]
        if not words and prompt is None:
            assert (counted(usage), usage.accuracy) == ((None, None, None), "unknown")
            continue
        assert usage.accuracy == "estimated"
        assert usage.input_tokens == prompt
        assert usage.output_tokens is not None
        assert len(words) <= usage.output_tokens <= max(len(words), sum(map(len, words)) // 5)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("responses_stream", b'event: error\ndata: {"error":{"message":"boom","type":"InternalServerError"}}\n\n'),
        ("responses_stream", b'event: response.failed\ndata: {"type":"response.failed","response":{"usage":null}}\n\n'),
        ("messages_stream", b'event: error\ndata: {"type":"error","error":{"type":"x","message":"boom"}}\n\n'),
        ("generate_stream_continuous_usage", b'data: {"error":{"message":"boom","code":500}}\n\ndata: [DONE]\n\n'),
        (
            "cohere_chat_stream",
            b'data: {"type":"message-end","delta":{"error":"boom","finish_reason":"ERROR"}}\n\ndata: [DONE]\n\n',
        ),
    ],
)
def test_an_error_within_a_stream_is_the_upstreams(name: str, error: bytes) -> None:
    one = load(name)
    sent = b"".join(recorded.events(one.body)[:8]) + error
    bench, body = run(one, one.wire(sent))
    assert body == sent
    assert (bench.usage.outcome, bench.usage.status) == ("upstream_error", 200)
    assert bench.usage.output_tokens is not None
    assert bench.usage.accuracy == ("exact" if name.startswith("generate") else "estimated")


def test_a_large_answer_is_read_by_its_largest_usage() -> None:
    """A tool's schema may look like usage, and vLLM repeats it before and after the real one: it gains nobody anything."""
    one = load("responses_unary")
    fake = b'[{"x":1,"usage":{"input_tokens":0,"output_tokens":1}}]'
    body = one.body.replace(b'"tools":[]', b'"tools":' + fake).replace(
        b'"input_messages":null', b'"input_messages":' + fake
    )
    body = body.replace(b'"text":"', b'"text":"' + b"long " * (1 << 18))
    headers = [(name, b"%d" % len(body) if name == b"content-length" else value) for name, value in one.headers]
    large = Recorded(**{**msgspec.structs.asdict(one), "headers": headers, "body": body})
    bench, got = run(large, large.wire(), *range(1000, len(body), 60_000))
    assert got == body
    assert counted(bench.usage) == (26, 12, 0)
