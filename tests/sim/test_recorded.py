"""Every recorded request that the simulator speaks, sent again: its answer must be vLLM's but for text, ids and times."""

from typing import Any

import msgspec
import pytest

from tests import recordings
from tests.recordings import NAMES, differences, load, named_events

SCHEMA = "chat_unary_json_schema"
"""Compared in a test of its own: the simulator's words keep to no schema."""
AFTER = {
    "chat_unary_cached_prefix_hit": "chat_unary_cached_prefix",
    "messages_stream_cached_prefix_hit": "messages_stream_cached_prefix",
    "messages_unary_cached_prefix_hit": "messages_stream_cached_prefix",
    "responses_cancel": "responses_unary_stored",
    "responses_previous": "responses_unary_stored",
    "responses_retrieve": "responses_unary_stored",
}
"""Recordings that need another one to have been sent before."""
DELTAS = {"audio", "content_block_delta", "content-delta", "response.output_text.delta"}
"""Events that tokens share when they make half a character: how many there are is the vocabulary's to say."""
ERRORS = [name for name in NAMES if name.startswith("error_")]
EXACT = [*ERRORS, "health", "load", "ping", "version"]
STREAMED = [name for name in NAMES if load(name).streamed and not load(name).cut_after]
CUT = [name for name in NAMES if load(name).cut_after]
BYTES = ["embeddings_bytes", "embeddings_bytes_only"]
UNARY = [name for name in NAMES if name not in {*EXACT, *STREAMED, *CUT, *BYTES, "metrics", SCHEMA}]


@pytest.fixture
async def sims(start):
    """Start simulators as the recorded servers were, one for each served name."""
    started = {}

    async def serving(model):
        if model not in started:
            fixed = {
                "sim_max_model_len": 2048,
                "sim_api_key": "upstream-secret",
                "sim_block_size": 128,
                "sim_responses_store": True,
            }
            started[model] = await start(sim_models=model, **fixed)
        return started[model]

    return serving


def served_name(recording):
    """Return the name that the recorded server had for its model."""
    names = (
        name
        for name in ("tiny-embed", "tiny-classify", "tiny-whisper")
        if name.encode() in recording.request_body + recording.body
    )
    return next(names, "tiny")


async def replay(sims, name):
    """Send a recorded request on a connection that, as when it was recorded, is closed afterwards."""
    if name in AFTER:
        await replay(sims, AFTER[name])
    recording = load(name)
    wire = await (await sims(served_name(recording))).wire()
    headers = [*recording.request_headers, ("Connection", "close")]
    await wire.send(recording.method, recording.path, headers, recording.request_body)
    answer = await wire.receive(recording.method)
    assert await wire.reader.read() == b"", "the connection must be closed"
    await wire.close()
    return recording, answer


def check_head(recording, answer):
    assert answer.status == recording.status
    expected, given = recording.headers, answer.headers
    if recording.path.startswith("/cohere/") and answer.status >= 400:  # rewritten on the way, which turns two headers
        expected, given = sorted(expected), sorted(given)
    assert [name for name, _ in given] == [name for name, _ in expected]
    for (name, value), (_, recorded) in zip(given, expected, strict=True):
        if name == "metadata":
            assert differences(msgspec.json.decode(recorded), msgspec.json.decode(value)) == []
        elif name not in {"date", "content-length"}:
            assert (name, value) == (name, recorded)


def check_arithmetic(usage, generated):
    assert usage["completion_tokens"] == generated
    assert usage["total_tokens"] == usage["prompt_tokens"] + generated


def test_nothing_recorded_is_left_out_by_accident():
    assert sorted([*EXACT, *STREAMED, *CUT, *BYTES, *UNARY, "metrics", SCHEMA]) == NAMES
    heard = [name for name in NAMES if load(name).path.startswith("/v1/audio/")]
    assert len(heard) == 11
    assert set(heard) <= {*EXACT, *STREAMED, *UNARY}


@pytest.mark.parametrize("name", EXACT)
async def test_errors_and_fixed_answers_are_the_same_to_the_byte(sims, name):
    recording, answer = await replay(sims, name)
    check_head(recording, answer)
    assert answer.body == recording.body


@pytest.mark.parametrize("name", UNARY)
async def test_whole_answers_have_the_recorded_fields(sims, name):
    recording, answer = await replay(sims, name)
    check_head(recording, answer)
    expected, given = msgspec.json.decode(recording.body), msgspec.json.decode(answer.body)
    if "results" in expected:
        check_ranking(expected["results"])
        check_ranking(given["results"])
    assert differences(expected, given) == []
    if "completion_tokens" in expected.get("usage", {}):
        check_arithmetic(given["usage"], expected["usage"]["completion_tokens"])


def check_ranking(results):
    """Check that the best come first, and forget which they are: that is the model's to say."""
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    for result in results:
        result["index"] = None


async def test_an_answer_to_a_schema_differs_in_its_end_alone(sims):
    """vLLM stopped when the JSON was whole; the simulator goes on to the limit."""
    recording, answer = await replay(sims, SCHEMA)
    check_head(recording, answer)
    found = differences(msgspec.json.decode(recording.body), msgspec.json.decode(answer.body))
    assert [line.partition(":")[0] for line in found] == ["$.choices[0].finish_reason", "$.usage.completion_tokens"]


@pytest.mark.parametrize("name", BYTES)
async def test_vectors_as_bytes_have_the_recorded_size_and_headers(sims, name):
    recording, answer = await replay(sims, name)
    check_head(recording, answer)
    assert len(answer.body) == len(recording.body)


def outline(body):
    """Return the events in the order of their choices, a run of deltas as one."""
    found: list[tuple[str, Any]] = []
    last = None
    for name, data in named_events(body):
        shown: Any = data if data == b"[DONE]" else msgspec.json.decode(data)
        kind = kind_of(shown)
        if kind == "audio":
            shown.get("usage", {}).pop("completion_tokens", None)  # the first that shows may be any
        if kind not in DELTAS or kind != last:
            found.append((name, shown))
        last = kind
    return sorted(found, key=lambda event: choice_of(event[1]))


def kind_of(shown):
    """Return what kind of event something is; a chunk of audio is a delta until its window ends."""
    if not isinstance(shown, dict):
        return None
    heard = shown.get("object") in ("transcription.chunk", "translation.chunk") and shown["choices"]
    return "audio" if heard and "finish_reason" not in shown["choices"][0] else shown.get("type")


def choice_of(shown):
    """Return the choice that an event of `generate` is about; choices come in no order of their own."""
    if isinstance(shown, dict) and "output_mode" in shown:
        return shown["choices"][0]["index"] if shown["choices"] else 1000
    return 1000 if shown == b"[DONE]" else 0


@pytest.mark.parametrize("name", STREAMED)
async def test_streams_have_the_recorded_events(sims, name):
    recording, answer = await replay(sims, name)
    check_head(recording, answer)
    expected, given = outline(recording.body), outline(answer.body)
    assert [kind for kind, _ in given] == [kind for kind, _ in expected]
    for (_, recorded), (_, shown) in zip(expected, given, strict=True):
        assert differences(recorded, shown) == []
        if isinstance(shown, dict) and "completion_tokens" in (shown.get("usage") or {}):
            check_arithmetic(shown["usage"], shown["usage"]["completion_tokens"])


async def test_each_event_of_a_stream_is_a_chunk_of_its_own(sims):
    _, answer = await replay(sims, "chat_stream_continuous_usage")
    assert all(chunk.count(b"data: ") == 1 for chunk in answer.chunks[:-1])
    assert answer.chunks[-1].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("name", CUT)
async def test_a_stream_that_is_cut_starts_as_recorded(sims, name):
    recording = load(name)
    wire = await (await sims(served_name(recording))).wire()
    await wire.send(recording.method, recording.path, recording.request_headers, recording.request_body)
    await wire.head()
    body = b""
    while len(body) < (recording.cut_after or 0) and (chunk := await wire.chunk()):
        body += chunk
    await wire.close()
    for (kind, recorded), (name, shown) in zip(outline(recording.body), outline(body), strict=False):
        assert kind == name
        assert differences(recorded, shown) == []


async def test_the_recorded_prefix_cache(sims):
    """221 tokens by vLLM's tokenizer filled one block of 128; the simulator's 156 do the same."""
    cold = msgspec.json.decode((await replay(sims, "chat_unary_cached_prefix"))[1].body)["usage"]
    warm = msgspec.json.decode((await replay(sims, "chat_unary_cached_prefix_hit"))[1].body)["usage"]
    assert cold["prompt_tokens"] == warm["prompt_tokens"] == 156
    assert cold["prompt_tokens_details"] == {"cached_tokens": 0, "created_cache_tokens": 128, "multimodal_tokens": None}
    assert warm["prompt_tokens_details"] == {"cached_tokens": 128, "created_cache_tokens": 0, "multimodal_tokens": None}


async def test_metrics_have_the_recorded_names_types_and_labels(sims):
    await replay(sims, "chat_unary")
    recording, answer = await replay(sims, "metrics")
    check_head(recording, answer)

    def families(page: bytes) -> set[str]:
        return {line for line in page.decode().splitlines() if line.startswith(("# TYPE vllm:", "# TYPE process"))}

    def series(page: bytes) -> set[str]:
        names = (line.rsplit(" ", 1)[0] for line in page.decode().splitlines() if line.startswith("vllm:"))
        return {name for name in names if not name.startswith("vllm:cache_config_info")}

    assert families(answer.body) <= families(recording.body)
    assert series(answer.body) <= series(recording.body)
    promised = ("prompt_tokens_total", "generation_tokens_total", "num_requests_running", "num_requests_waiting")
    for name in (*promised, "kv_cache_usage_perc", "request_success_total", "time_to_first_token_seconds_bucket"):
        assert any(line.startswith(f"vllm:{name}{{") for line in series(answer.body)), name


def test_the_comparison_sees_differences():
    same = {"a": 1, "b": None, "id": "x", "list": [{"c": 1}]}
    assert differences(same, {"a": 1, "b": None, "id": "y", "list": [{"c": 1}]}) == []
    for other in (
        {"b": None, "a": 1, "id": "x", "list": [{"c": 1}]},
        {"a": 1, "b": 0, "id": "x", "list": [{"c": 1}]},
        {"a": 2, "b": None, "id": "x", "list": [{"c": 1}]},
        {"a": 1, "b": None, "id": 5, "list": [{"c": 1}]},
        {"a": 1, "b": None, "id": "x", "list": [{"c": 1}, {"c": 1}]},
        {"a": 1, "b": None, "id": "x", "list": [{"c": "1"}]},
    ):
        assert recordings.differences(same, other)
