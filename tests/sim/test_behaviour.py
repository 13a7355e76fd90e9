"""Counting, aborts, capacity and failures, over a socket."""

import asyncio
from time import monotonic

import msgspec
import pytest

from sim import journal
from tests.recordings import events

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
PROMPT, GENERATED = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
LABELS = '{engine="0",model_name="tiny"}'


def chat(**changes) -> bytes:
    body = {"model": "tiny", "max_tokens": 5, "ignore_eos": True, "messages": [{"role": "user", "content": "hi"}]}
    return msgspec.json.encode({**body, **changes})


def endless(**changes) -> bytes:
    usage = {"include_usage": True, "continuous_usage_stats": True}
    return chat(max_tokens=8000, stream=True, stream_options=usage, **changes)


async def until(question, seconds=120):
    deadline = monotonic() + seconds
    while not question():
        assert monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.005)


async def ask(sim, body, path=CHAT, *headers):
    wire = await sim.wire()
    answer = await wire.post(path, body, *headers)
    await wire.close()
    return answer


async def read_events(wire, count) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        found += events(await wire.chunk())
    return found


async def post_without_waiting(sim, body, path=CHAT, *headers):
    wire = await sim.wire()
    length = [("Host", "test"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    await wire.send("POST", path, [*length, *headers], body)
    return wire


async def test_counters_and_usage_agree(start):
    sim = await start()
    usage = msgspec.json.decode((await ask(sim, chat())).body)["usage"]
    metrics = await sim.metrics()
    assert metrics[PROMPT + LABELS] == usage["prompt_tokens"]
    assert metrics[GENERATED + LABELS] == usage["completion_tokens"] == 5
    assert metrics['vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"}'] == 1
    assert metrics["vllm:num_requests_running" + LABELS] == 0
    assert metrics["vllm:kv_cache_usage_perc" + LABELS] == 0


async def test_the_engine_counts_a_prompt_for_each_answer_to_it_and_usage_once(start):
    """As vLLM 0.32.0 was seen to: n=3 added three times the prompt to `vllm:prompt_tokens_total`."""
    sim = await start()
    usage = msgspec.json.decode((await ask(sim, chat(n=3))).body)["usage"]
    assert usage["completion_tokens"] == sim.counters.generation_tokens == 15
    assert sim.counters.prompt_tokens == 3 * usage["prompt_tokens"]


async def test_several_prompts_count_once_each_in_usage(start):
    sim = await start()
    body = {"model": "tiny", "max_tokens": 2, "ignore_eos": True, "prompt": ["four", "eight by"], "n": 2}
    answer = msgspec.json.decode((await ask(sim, msgspec.json.encode(body), COMPLETION)).body)
    assert answer["usage"]["prompt_tokens"] == 1 + 2
    assert answer["usage"]["completion_tokens"] == 2 * 2 * 2
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]


@pytest.mark.parametrize("path", [CHAT, COMPLETION])
async def test_continuous_usage_is_of_one_choice_and_the_last_of_all(start, path):
    sim = await start()
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"model": "tiny", "max_tokens": 4, "ignore_eos": True, "n": 2, "stream": True, "stream_options": options}
    body |= {"messages": [{"role": "user", "content": "hi"}]} if path == CHAT else {"prompt": "hi"}
    chunks = [
        msgspec.json.decode(event) for event in events((await ask(sim, msgspec.json.encode(body), path)).body)[:-1]
    ]
    by_choice: dict[int, list[int]] = {0: [], 1: []}
    for chunk in chunks[:-1]:
        by_choice[chunk["choices"][0]["index"]].append(chunk["usage"]["completion_tokens"])
    steps = [0, 1, 2, 3, 4] if path == CHAT else [1, 2, 3, 4]
    assert by_choice == {0: steps, 1: steps}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 8


async def test_the_wish_for_continuous_usage_alone_is_ignored(start):
    sim = await start()
    answer = await ask(sim, chat(stream=True, stream_options={"continuous_usage_stats": True}))
    assert b'"usage"' not in answer.body


@pytest.mark.parametrize("speed", [0, 200])
async def test_a_closed_stream_generates_nothing_more_and_all_it_wrote_counts(start, tmp_path, speed):
    """A client that closes its own direction can read to the end what was generated until then."""
    sim = await start(sim_log=tmp_path / "log", sim_tokens_per_second=speed)
    wire = await post_without_waiting(sim, endless(), CHAT, ("X-Request-Id", "cut-1"))
    await wire.head()
    await read_events(wire, 4)
    wire.writer.write_eof()
    rest = await wire.reader.read()
    await until(lambda: journal.read(tmp_path / "log"))
    (entry,) = journal.read(tmp_path / "log")
    assert (entry.request_id, entry.outcome) == ("cut-1", "aborted")
    assert 3 <= entry.generated_tokens < 8000
    assert entry.generated_tokens == sim.counters.generation_tokens
    last = msgspec.json.decode(rest[rest.rfind(b"data: ") + 6 :].partition(b"\n\n")[0]) if b"data: " in rest else None
    if last is not None:
        assert last["usage"]["completion_tokens"] == entry.generated_tokens
    await asyncio.sleep(0.05)
    assert sim.counters.generation_tokens == entry.generated_tokens
    assert (sim.counters.running, sim.counters.held_tokens) == (0, 0)
    assert entry.engine_prompt_tokens == sim.counters.prompt_tokens == entry.prompt_tokens
    assert sum(sim.counters.finished.values()) == 0
    await wire.close()


async def test_a_reset_stream_stops(start, tmp_path):
    sim = await start(sim_log=tmp_path / "log", sim_tokens_per_second=500)
    wire = await post_without_waiting(sim, endless())
    await wire.head()
    wire.reset()
    await until(lambda: journal.read(tmp_path / "log"))
    assert journal.read(tmp_path / "log")[0].outcome == "aborted"
    assert sim.counters.running == 0


async def test_a_client_that_leaves_at_once_is_still_in_the_log(start, tmp_path):
    sim = await start(sim_log=tmp_path / "log", sim_ttft_seconds=30)
    for _ in range(20):
        (await post_without_waiting(sim, endless())).reset()
    for _ in range(20):
        wire = await post_without_waiting(sim, endless())
        wire.writer.write_eof()
        await wire.close()
    await until(lambda: len(journal.read(tmp_path / "log")) >= 20)  # a reset may overtake the request that it ends
    entries = journal.read(tmp_path / "log")
    assert {entry.outcome for entry in entries} == {"aborted"}
    assert {(entry.generated_tokens, entry.engine_prompt_tokens) for entry in entries} == {(0, 0)}
    assert sim.counters.prompt_tokens == 0, "a prompt counts with its first token"


async def test_what_is_over_capacity_waits_in_order(start):
    sim = await start(sim_capacity=2, sim_ttft_seconds=30)
    running = [await post_without_waiting(sim, endless()) for _ in range(2)]
    await until(lambda: sim.counters.running == 2)
    waiting = [await post_without_waiting(sim, endless()) for _ in range(3)]
    await until(lambda: sim.counters.waiting == 3)
    metrics = await sim.metrics()
    assert metrics["vllm:num_requests_running" + LABELS] == 2
    assert metrics["vllm:num_requests_waiting" + LABELS] == 3
    waiting[0].reset()
    await until(lambda: sim.counters.waiting == 2)
    running[0].reset()
    await until(lambda: (sim.counters.running, sim.counters.waiting) == (2, 1))
    for wire in (*running[1:], *waiting[1:]):
        wire.reset()
    await until(lambda: (sim.counters.running, sim.counters.waiting) == (0, 0))


async def test_a_client_that_does_not_read_holds_generation_back(start):
    sim = await start(sim_max_model_len=10**7)
    wire = await post_without_waiting(sim, chat(max_tokens=10**6, stream=True))
    await until(lambda: sim.counters.generation_tokens > 100)
    seen = -1
    while seen != sim.counters.generation_tokens:
        seen = sim.counters.generation_tokens
        await asyncio.sleep(0.3)
    assert seen < 10**6
    wire.reset()
    await until(lambda: sim.counters.running == 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_speed_and_first_token_take_their_time(start, stream):
    sim = await start(sim_tokens_per_second=50, sim_ttft_seconds=0.1)
    before = monotonic()
    await ask(sim, chat(max_tokens=6, stream=stream))
    assert monotonic() - before >= 0.1 + 5 / 50 - 0.01


async def test_the_log_has_a_line_before_the_answer_is_there(start, tmp_path):
    sim = await start(sim_log=tmp_path / "log")
    wire = await sim.wire()
    for number in range(50):
        stream = bool(number % 2)
        answer = await wire.post(CHAT, chat(stream=stream), ("X-Request-Id", f"r{number}"))
        assert answer.status == 200
        entry = journal.read(tmp_path / "log")[-1]
        assert (entry.request_id, entry.generated_tokens, entry.outcome) == (f"r{number}", 5, "finished")
    await wire.close()
    assert sum(entry.generated_tokens for entry in journal.read(tmp_path / "log")) == sim.counters.generation_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_failures_on_demand(start, tmp_path, stream):
    sim = await start(sim_log=tmp_path / "log")
    refused = await ask(sim, chat(stream=stream), CHAT, ("X-Sim-Fault", "error"))
    error = {"message": "Internal server error", "type": "InternalServerError", "param": None, "code": 500}
    assert (refused.status, msgspec.json.decode(refused.body)) == (500, {"error": error})
    assert sim.counters.generation_tokens == 0

    broken = await ask(sim, chat(stream=stream), CHAT, ("X-Sim-Fault", "break"))
    if stream:
        assert broken.status == 200
        *_, last, done = events(broken.body)
        assert (msgspec.json.decode(last), done) == ({"error": error}, b"[DONE]")
    else:
        assert (broken.status, msgspec.json.decode(broken.body)) == (500, {"error": error})

    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await ask(sim, chat(stream=stream), CHAT, ("X-Sim-Fault", "drop"))
    entries = journal.read(tmp_path / "log")
    assert [entry.outcome for entry in entries] == ["failed", "broken", "dropped"]
    assert sum(entry.generated_tokens for entry in entries) == sim.counters.generation_tokens > 0


async def test_failures_by_chance_repeat_with_the_seed(start):
    async def statuses(**flags):
        sim = await start(sim_error_rate=0.3, **flags)
        return [(await ask(sim, chat(max_tokens=1))).status for _ in range(40)]

    first, again, other = await statuses(), await statuses(), await statuses(sim_seed=9)
    assert first == again != other
    assert 3 < first.count(500) < 25


async def test_pipelined_requests_are_answered_in_order(start):
    sim = await start(sim_tokens_per_second=2000)
    wire = await sim.wire()
    bodies = [chat(max_tokens=number % 5 + 1, stream=number % 3 == 0) for number in range(40)]
    for number, body in enumerate(bodies):
        headers = [("Host", "t"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        await wire.send("POST", CHAT, [*headers, ("X-Request-Id", str(number))], body)
    for number in range(len(bodies)):
        answer = await wire.receive()
        assert f'"id":"chatcmpl-{number}"'.encode() in answer.body
    await wire.close()


async def test_an_old_client_gets_a_stream_that_ends_with_the_connection(start):
    sim = await start()
    wire, body = await sim.wire(), chat(stream=True)
    wire.writer.write(b"POST %b HTTP/1.0\r\nContent-Type: application/json\r\n" % CHAT.encode())
    wire.writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    answer = await wire.receive()
    assert answer.header("transfer-encoding") is None
    assert answer.body.endswith(b"data: [DONE]\n\n")
    await wire.close()


async def test_nonsense_gets_400_and_the_end(start):
    sim = await start()
    wire = await sim.wire()
    wire.writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    assert (await wire.reader.read()).startswith(b"HTTP/1.1 400 ")
    await wire.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"),
        (
            {"max_tokens": 9000},
            "max_tokens=9000 cannot be greater than max_model_len=8192. Please request fewer output tokens. "
            "(parameter=max_tokens, value=9000)",
        ),
        ({"messages": []}, "Cannot apply chat template to an empty conversation. Provide at least one message."),
        ({"n": 0}, "n must be at least 1, got 0."),
        ({"top_logprobs": 2}, "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)"),
        (
            {"temperature": "hot"},
            "1 validation error:\n  {'type': 'float_parsing', 'loc': 'body.temperature', 'msg': 'Input should be a "
            "valid number, unable to parse string as a number', 'input': 'hot'}",
        ),
        (
            {"max_tokens": "x"},
            "1 validation error:\n  {'type': 'int_parsing', 'loc': 'body.max_tokens', 'msg': 'Input should be a "
            "valid integer, unable to parse string as an integer', 'input': 'x'}",
        ),
        (
            {"stream": "maybe"},
            "1 validation error:\n  {'type': 'bool_parsing', 'loc': 'body.stream', 'msg': 'Input should be a "
            "valid boolean, unable to interpret input', 'input': 'maybe'}",
        ),
    ],
)
async def test_bad_values_are_refused_in_vllms_words(start, changes, message):
    """The words were read from a running vLLM 0.32.0."""
    sim = await start()
    answer = await ask(sim, chat(**changes))
    assert answer.status == 400
    assert msgspec.json.decode(answer.body)["error"]["message"] == message


async def test_a_number_as_text_and_nulls_are_taken(start):
    sim = await start()
    answer = msgspec.json.decode((await ask(sim, chat(n="2", stream=None, stream_options=None, seed=None))).body)
    assert len(answer["choices"]) == 2


async def test_an_array_is_no_request(start):
    sim = await start()
    answer = await ask(sim, b"[1]")
    assert "'input': '<list of 1 items>'" in msgspec.json.decode(answer.body)["error"]["message"]


async def test_a_stop_string_shows_in_the_answer(start):
    sim = await start()
    whole = msgspec.json.decode((await ask(sim, chat(max_tokens=40, seed=3))).body)["choices"][0]["message"]["content"]
    stop = whole[20:24]
    answer = msgspec.json.decode((await ask(sim, chat(max_tokens=40, seed=3, stop=[stop]))).body)["choices"][0]
    assert (answer["finish_reason"], answer["stop_reason"]) == ("stop", stop)
    assert whole.startswith(answer["message"]["content"] + stop)
