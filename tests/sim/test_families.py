"""Every family of endpoints: what is counted, logged and refused, over a socket."""

import asyncio
import io
import wave
from typing import Any

import msgspec
import pytest

from sim import journal
from tests.recordings import named_events
from tests.sim.test_behaviour import until

CHAT = [{"role": "user", "content": "How many tokens is this?"}]
STREAMING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CHAT, "ignore_eos": True},
    "/v1/completions": {"prompt": "How many?", "ignore_eos": True},
    "/v1/responses": {"input": "How many?", "ignore_eos": True},
    "/v1/messages": {"messages": CHAT},
    "/cohere/v2/chat": {"messages": CHAT},
    "/inference/v1/generate": {"token_ids": [1, 2, 3], "sampling_params": {"max_tokens": 8000, "ignore_eos": True}},
    "/invocations": {"messages": CHAT, "ignore_eos": True},
}
READING = {
    "/v1/embeddings": {"input": ["one", "and two"]},
    "/v2/embed": {"texts": ["one", "and two"]},
    "/pooling": {"input": [1, 2, 3]},
    "/classify": {"input": "one"},
    "/score": {"queries": "one", "documents": ["two", "and three"]},
    "/v1/score": {"text_1": ["one", "two"], "text_2": ["two", "and three"]},
    "/rerank": {"query": "one", "documents": ["two", "and three"]},
    "/v1/rerank": {"query": "one", "documents": ["two"]},
    "/v2/rerank": {"query": "one", "documents": "two"},
    "/invocations": {"input": "one"},
}
BATCH = ("/v1/chat/completions/batch", {"messages": [CHAT, CHAT], "ignore_eos": True})


def body_of(path, stream=False, tokens=5, **changes):
    given = {"model": "tiny", "stream": stream, **STREAMING.get(path, {}), **changes}
    if path == "/inference/v1/generate":
        given["sampling_params"] = {**given["sampling_params"], "max_tokens": tokens}
        given["stream_options"] = {"include_usage": True} if stream else None
    else:
        given["max_output_tokens" if path == "/v1/responses" else "max_tokens"] = tokens
        if stream and path not in ("/v1/responses", "/v1/messages", "/cohere/v2/chat"):
            given["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(given)


async def ask(sim, path, body, *headers):
    wire = await sim.wire()
    answer = await wire.post(path, body, *headers)
    await wire.close()
    return answer


async def get(sim, path):
    wire = await sim.wire()
    await wire.send("GET", path, [("Host", "test")])
    answer = await wire.receive("GET")
    await wire.close()
    return answer


def usage_of(shown):
    """Return input and output tokens, whichever API says them."""
    for place in (shown, shown.get("response"), shown.get("delta"), shown.get("message")):
        usage = (place or {}).get("usage") if isinstance(place, dict) else None
        if usage:
            usage = usage.get("tokens", usage)
            cached = usage.get("cache_read_input_tokens", 0) + usage.get("cache_creation_input_tokens", 0)
            names = (
                ("prompt_tokens", "completion_tokens")
                if "prompt_tokens" in usage
                else ("input_tokens", "output_tokens")
            )
            return usage[names[0]] + cached, usage.get(names[1], 0)
    return None


def last_usage(answer):
    shown = [msgspec.json.decode(data) for _, data in named_events(answer.body) if data != b"[DONE]"]
    return [usage for event in shown if (usage := usage_of(event)) is not None][-1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", STREAMING)
async def test_usage_counters_and_log_agree(start, tmp_path, path, stream):
    sim = await start(sim_log=tmp_path / "log", sim_eos_every=10**6)
    answer = await ask(sim, path, body_of(path, stream), ("X-Request-Id", "r-1"))
    assert answer.status == 200
    used = last_usage(answer) if stream else usage_of(msgspec.json.decode(answer.body))
    assert used == (sim.counters.prompt_tokens, sim.counters.generation_tokens)
    assert used[0] > 0
    assert used[1] == 5
    (entry,) = journal.read(tmp_path / "log")
    assert (entry.request_id, entry.path, entry.stream, entry.outcome) == ("r-1", path, stream, "finished")
    assert (entry.prompt_tokens, entry.generated_tokens) == (entry.engine_prompt_tokens, 5) == used


@pytest.mark.parametrize("stream", [False, True])
async def test_a_message_tells_the_caches_part_apart_from_its_input(start, stream):
    sim = await start()
    body = body_of("/v1/messages", stream, messages=[{"role": "user", "content": "weigh this " * 50}])
    for cached in (False, True):
        before = sim.counters.prompt_tokens
        answer = await ask(sim, "/v1/messages", body)
        events = named_events(answer.body)
        usage = msgspec.json.decode(events[-2][1] if stream else answer.body)["usage"]
        written, read = usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]
        assert bool(read) == cached != bool(written)
        assert usage["input_tokens"] + written + read == sim.counters.prompt_tokens - before


async def test_a_batch_counts_every_chat(start):
    sim = await start()
    path, body = BATCH
    answer = await ask(sim, path, msgspec.json.encode({**body, "max_tokens": 5, "model": "tiny"}))
    shown = msgspec.json.decode(answer.body)
    assert (
        usage_of(shown)
        == (sim.counters.prompt_tokens, 10)
        == (sim.counters.prompt_tokens, sim.counters.generation_tokens)
    )
    assert [choice["index"] for choice in shown["choices"]] == [0, 1]


@pytest.mark.parametrize("path", READING)
async def test_what_is_only_read_counts_each_prompt_once(start, tmp_path, path):
    sim = await start(sim_log=tmp_path / "log")
    answer = await ask(sim, path, msgspec.json.encode(READING[path]))
    assert answer.status == 200
    shown = msgspec.json.decode(answer.body)
    used = shown["meta"]["billed_units"]["input_tokens"] if "meta" in shown else shown["usage"]["prompt_tokens"]
    assert used == sim.counters.prompt_tokens > 0
    assert sim.counters.generation_tokens == 0
    (entry,) = journal.read(tmp_path / "log")
    assert (entry.path, entry.prompt_tokens, entry.engine_prompt_tokens) == (path, used, used)
    assert (sim.counters.running, sim.counters.held_tokens) == (0, 0)


@pytest.mark.parametrize("path", STREAMING)
async def test_a_stream_that_its_client_leaves_counts_what_was_made(start, tmp_path, path):
    sim = await start(sim_log=tmp_path / "log", sim_tokens_per_second=200, sim_eos_every=10**6)
    wire, body = await sim.wire(), body_of(path, stream=True, tokens=8000)
    length = [("Host", "test"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    await wire.send("POST", path, length, body)
    await wire.head()
    for _ in range(4):
        await wire.chunk()
    wire.reset()
    await until(lambda: journal.read(tmp_path / "log"))
    (entry,) = journal.read(tmp_path / "log")
    assert entry.outcome == "aborted"
    assert 0 < entry.generated_tokens == sim.counters.generation_tokens < 8000
    assert entry.engine_prompt_tokens == sim.counters.prompt_tokens > 0
    assert sim.counters.running == 0


async def test_a_reader_that_leaves_while_it_waits_counts_nothing(start, tmp_path):
    sim = await start(sim_log=tmp_path / "log", sim_ttft_seconds=30)
    wire, body = await sim.wire(), msgspec.json.encode(READING["/v1/embeddings"])
    length = [("Host", "test"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    await wire.send("POST", "/v1/embeddings", length, body)
    await until(lambda: sim.counters.running == 1)
    wire.reset()
    await until(lambda: journal.read(tmp_path / "log"))
    assert (journal.read(tmp_path / "log")[0].outcome, sim.counters.prompt_tokens) == ("aborted", 0)


ERROR: dict[str, Any] = {"message": "Internal server error", "type": "InternalServerError", "param": None, "code": 500}


@pytest.mark.parametrize(
    ("path", "refusal", "last"),
    [
        (
            "/v1/messages",
            {"type": "error", "error": {"type": "InternalServerError", "message": ERROR["message"]}},
            "error",
        ),
        ("/cohere/v2/chat", {"message": ERROR["message"]}, "message-end"),
        ("/inference/v1/generate", {"error": ERROR}, None),
    ],
)
async def test_failures_look_as_the_api_has_them(start, path, refusal, last):
    sim = await start(sim_eos_every=10**6)
    refused = await ask(sim, path, body_of(path), ("X-Sim-Fault", "error"))
    assert (refused.status, msgspec.json.decode(refused.body)) == (500, refusal)
    broken = await ask(sim, path, body_of(path, stream=True, tokens=20), ("X-Sim-Fault", "break"))
    ends = [msgspec.json.decode(data) for _, data in named_events(broken.body) if data != b"[DONE]"]
    assert ends[-1].get("type") == last
    assert ERROR["message"] in str(ends[-1])


async def test_a_failed_stream_of_responses_breaks_off(start, tmp_path):
    sim = await start(sim_log=tmp_path / "log")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await ask(sim, "/v1/responses", body_of("/v1/responses", stream=True, tokens=20), ("X-Sim-Fault", "break"))
    assert journal.read(tmp_path / "log")[0].outcome == "dropped"


@pytest.mark.parametrize("fault", ["error", "break"])
async def test_a_reader_fails_on_demand(start, fault):
    sim = await start()
    answer = await ask(sim, "/rerank", msgspec.json.encode(READING["/rerank"]), ("X-Sim-Fault", fault))
    assert (answer.status, msgspec.json.decode(answer.body)) == (500, {"error": ERROR})
    assert bool(sim.counters.prompt_tokens) == (fault == "break")


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/embeddings", {"input": []}, "You must pass at least one prompt"),
        ("/v1/embeddings", {"input": ""}, "The decoder prompt cannot be empty"),
        ("/v1/embeddings", {"input": "a", "model": "x"}, "The model `x` does not exist."),
        ("/score", {"text_1": ["a", "b", "c"], "text_2": ["d", "e"]}, "Input lengths must be either 1:1, 1:N or N:N"),
        ("/score", {"text_1": "a", "text_2": []}, "At least one text_pair element must be given"),
        ("/tokenize", {"prompt": "a", "model": "x"}, "The model `x` does not exist. Valid aliases: tiny."),
        (
            "/v1/embeddings",
            {"input": [1] * 9000},
            "This model's maximum context length is 8192 tokens. However, your prompt contains 9000 input tokens, which "
            "exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
            "(parameter=input_tokens, value=9000)",
        ),
    ],
)
async def test_bad_inputs_are_refused_in_vllms_words(start, path, body, message):
    """The words were read from a running vLLM 0.32.0."""
    sim = await start()
    answer = await ask(sim, path, msgspec.json.encode(body))
    assert msgspec.json.decode(answer.body)["error"]["message"] == message


async def test_the_same_text_has_the_same_vector_in_every_form(start):
    sim = await start()
    plain, coded = [
        msgspec.json.decode((await ask(sim, "/v1/embeddings", msgspec.json.encode({"input": "x", **form}))).body)
        for form in ({}, {"encoding_format": "base64"})
    ]
    raw = (await ask(sim, "/v1/embeddings", msgspec.json.encode({"input": "x", "encoding_format": "bytes_only"}))).body
    numbers = plain["data"][0]["embedding"]
    assert sum(number * number for number in numbers) == pytest.approx(1)
    assert memoryview(raw).cast("f").tolist() == pytest.approx(numbers, rel=1e-6)
    assert msgspec.json.decode(msgspec.json.encode(raw)) == coded["data"][0]["embedding"]


def sound(seconds):
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "NONE"))
        file.writeframes(b"\r\n\x00\xff" * (seconds * 4000))
    return held.getvalue()


def as_form(**fields):
    parts = [
        b'--B\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
        % (name.encode(), b'; filename="a.wav"' if name == "file" else b"", value)
        for name, value in fields.items()
    ]
    return b"".join(parts) + b"--B--\r\n"


async def send_form(sim, path, **fields):
    wire, body = await sim.wire(), as_form(**fields)
    kind = ("Content-Type", "multipart/form-data; boundary=B")
    await wire.send("POST", path, [("Host", "test"), kind, ("Content-Length", str(len(body)))], body)
    answer = await wire.receive()
    await wire.close()
    return answer


async def test_audio_is_answered_with_its_seconds(start):
    sim = await start()
    answer = await send_form(sim, "/v1/audio/transcriptions", model=b"tiny", file=sound(3), max_completion_tokens=b"6")
    shown = msgspec.json.decode(answer.body)
    assert list(shown) == ["text", "usage"]
    assert shown["usage"] == {"type": "duration", "seconds": 3}
    assert (sim.counters.prompt_tokens, sim.counters.generation_tokens) == (4, 6)
    translated = await send_form(sim, "/v1/audio/translations", file=sound(1), max_completion_tokens=b"6")
    assert list(msgspec.json.decode(translated.body)) == ["text"]


async def test_streamed_audio_tells_the_tokens_of_its_sound(start):
    sim = await start()
    fields = {"stream": b"true", "stream_include_usage": b"1", "max_completion_tokens": b"6", "file": sound(3)}
    answer = await send_form(sim, "/v1/audio/transcriptions", **fields)
    *chunks, done = [data for _, data in named_events(answer.body)]
    assert done == b"[DONE]"
    first, last = msgspec.json.decode(chunks[0]), msgspec.json.decode(chunks[-1])
    assert (first["object"], last["choices"]) == ("transcription.chunk", [])
    assert last["usage"] == {"prompt_tokens": 4 + 300, "total_tokens": 310, "completion_tokens": 6}
    assert "usage" not in first


async def test_long_audio_is_told_window_after_window(start):
    sim = await start(sim_eos_every=10**6)
    fields = {"stream": b"true", "stream_include_usage": b"1", "max_completion_tokens": b"6", "file": sound(61)}
    answer = await send_form(sim, "/v1/audio/transcriptions", **fields)
    *chunks, last = [msgspec.json.decode(data) for _, data in named_events(answer.body)[:-1]]
    ends = [place for place, chunk in enumerate(chunks) if "finish_reason" in chunk["choices"][0]]
    assert len(ends) == 3
    assert ends[-1] == len(chunks) - 1
    assert last["usage"] == {"prompt_tokens": 4 + 6100, "total_tokens": 6122, "completion_tokens": 18}
    assert (sim.counters.prompt_tokens, sim.counters.generation_tokens) == (3 * 4, 18)
    fields |= {"stream": b"0", "stream_include_usage": b"0"}
    whole = msgspec.json.decode((await send_form(sim, "/v1/audio/transcriptions", **fields)).body)
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == whole["text"]


async def test_a_form_without_a_file_is_refused(start):
    sim = await start()
    assert (await send_form(sim, "/v1/audio/transcriptions", model=b"tiny")).status == 400
    assert (await ask(sim, "/v1/audio/transcriptions", b"{}")).status == 400
