"""Every recorded request that the simulator speaks, sent again: its answer must be vLLM's but for text, ids and times."""

import msgspec
import pytest

from tests import recordings
from tests.recordings import NAMES, differences, events, load

NOT_SPOKEN = {
    *("embeddings_base64", "embeddings_batch", "embeddings_single", "models_embed", "pooling", "score"),
    *("messages_count_tokens", "messages_unary", "responses_unary", "chat_unary_json_schema"),
}
SPOKEN = [name for name in NAMES if name not in NOT_SPOKEN]
EXACT = [name for name in SPOKEN if name.startswith("error_")] + ["health", "load", "version"]
STREAMED = [name for name in SPOKEN if load(name).streamed and not load(name).cut_after]
UNARY = [name for name in SPOKEN if name not in {*EXACT, *STREAMED, "metrics"} and not load(name).streamed]


@pytest.fixture
async def sim(start):
    return await start(sim_models="tiny", sim_max_model_len=2048, sim_api_key="upstream-secret", sim_block_size=128)


async def replay(sim, name):
    """Send a recorded request on a connection that, as when it was recorded, is closed afterwards."""
    recording = load(name)
    wire = await sim.wire()
    headers = [*recording.request_headers, ("Connection", "close")]
    await wire.send(recording.method, recording.path, headers, recording.request_body)
    answer = await wire.receive(recording.method)
    assert await wire.reader.read() == b"", "the connection must be closed"
    await wire.close()
    return recording, answer


def check_head(recording, answer):
    assert answer.status == recording.status
    names = [name for name, _ in recording.headers]
    assert [name for name, _ in answer.headers] == names
    for (name, value), (_, expected) in zip(answer.headers, recording.headers, strict=True):
        if name not in {"date", "content-length"}:
            assert (name, value) == (name, expected)


def check_arithmetic(usage, generated):
    assert usage["completion_tokens"] == generated
    assert usage["total_tokens"] == usage["prompt_tokens"] + generated


def test_nothing_recorded_is_left_out_by_accident():
    assert set(NAMES) >= NOT_SPOKEN
    assert len(SPOKEN) == len(EXACT) + len(STREAMED) + len(UNARY) + 2  # metrics, and the stream that was cut


@pytest.mark.parametrize("name", EXACT)
async def test_errors_and_fixed_answers_are_the_same_to_the_byte(sim, name):
    recording, answer = await replay(sim, name)
    check_head(recording, answer)
    assert answer.body == recording.body


@pytest.mark.parametrize("name", UNARY)
async def test_whole_answers_have_the_recorded_fields(sim, name):
    recording, answer = await replay(sim, name)
    if name == "chat_unary_cached_prefix_hit":
        recording, answer = await replay(sim, name)
    check_head(recording, answer)
    expected, given = msgspec.json.decode(recording.body), msgspec.json.decode(answer.body)
    assert differences(expected, given) == []
    if "usage" in expected:
        check_arithmetic(given["usage"], expected["usage"]["completion_tokens"])


@pytest.mark.parametrize("name", STREAMED)
async def test_streams_have_the_recorded_events(sim, name):
    recording, answer = await replay(sim, name)
    check_head(recording, answer)
    expected, given = events(recording.body), events(answer.body)
    assert len(given) == len(expected)
    assert given[-1] == expected[-1] == b"[DONE]"
    for recorded, event in zip(expected[:-1], given[:-1], strict=True):
        assert differences(msgspec.json.decode(recorded), msgspec.json.decode(event)) == []
    for event in map(msgspec.json.decode, given[:-1]):
        if "usage" in event:
            check_arithmetic(event["usage"], event["usage"]["completion_tokens"])


async def test_each_event_of_a_stream_is_a_chunk_of_its_own(sim):
    _, answer = await replay(sim, "chat_stream_continuous_usage")
    assert all(chunk.count(b"data: ") == 1 for chunk in answer.chunks[:-1])
    assert answer.chunks[-1].endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_is_cut_starts_as_recorded(sim):
    recording = load("chat_stream_client_abort_plain")
    assert recording.cut_after
    wire = await sim.wire()
    await wire.send(recording.method, recording.path, recording.request_headers, recording.request_body)
    await wire.head()
    body = b""
    while len(body) < recording.cut_after:
        body += await wire.chunk()
    await wire.close()
    for recorded, event in zip(events(recording.body), events(body), strict=False):
        assert differences(msgspec.json.decode(recorded), msgspec.json.decode(event)) == []


async def test_the_recorded_prefix_cache(sim):
    """221 tokens by vLLM's tokenizer filled one block of 128; the simulator's 156 do the same."""
    cold = msgspec.json.decode((await replay(sim, "chat_unary_cached_prefix"))[1].body)["usage"]
    warm = msgspec.json.decode((await replay(sim, "chat_unary_cached_prefix_hit"))[1].body)["usage"]
    assert cold["prompt_tokens"] == warm["prompt_tokens"] == 156
    assert cold["prompt_tokens_details"] == {"cached_tokens": 0, "created_cache_tokens": 128, "multimodal_tokens": None}
    assert warm["prompt_tokens_details"] == {"cached_tokens": 128, "created_cache_tokens": 0, "multimodal_tokens": None}


async def test_metrics_have_the_recorded_names_types_and_labels(sim):
    await replay(sim, "chat_unary")
    recording, answer = await replay(sim, "metrics")
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
