"""Stored responses and those made in the background."""

import asyncio

import msgspec
import pytest

from sim import journal
from tests.recordings import named_events
from tests.sim.test_behaviour import until
from tests.sim.test_families import ask, get

PATH = "/v1/responses"


def body(**changes):
    return msgspec.json.encode({"model": "tiny", "input": "hi", "ignore_eos": True, "max_output_tokens": 5, **changes})


async def make(sim, **changes):
    return msgspec.json.decode((await ask(sim, PATH, body(**changes))).body)


async def look(sim, made):
    return msgspec.json.decode((await get(sim, f"{PATH}/{made['id']}")).body)


async def test_nothing_is_stored_unless_the_server_stores(start):
    sim = await start()
    made = await make(sim)
    answer = await get(sim, f"{PATH}/{made['id']}")
    assert (answer.status, msgspec.json.decode(answer.body)["error"]["type"]) == (404, "invalid_request_error")
    refused = await ask(sim, PATH, body(background=True))
    assert (refused.status, msgspec.json.decode(refused.body)["error"]["param"]) == (400, "background")


async def test_a_stored_response_comes_back_unless_it_was_not_to_be_stored(start):
    sim = await start(sim_responses_store=True)
    made = await make(sim)
    assert await look(sim, made) == made
    assert (await get(sim, f"{PATH}/{(await make(sim, store=False))['id']}")).status == 404
    streamed = await ask(sim, PATH, body(stream=True))
    last = msgspec.json.decode(named_events(streamed.body)[-1][1])["response"]
    assert await look(sim, last) == last


async def test_a_response_goes_on_where_another_ended(start):
    sim = await start(sim_responses_store=True)
    first = await make(sim)
    second = await make(sim, previous_response_id=first["id"])
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"] + first["usage"]["output_tokens"]


async def test_the_background_goes_on_without_its_client(start, tmp_path):
    sim = await start(sim_responses_store=True, sim_log=tmp_path / "log", sim_tokens_per_second=100)
    made = await make(sim, background=True)
    assert (made["status"], made["usage"], made["output"]) == ("queued", None, [])
    await until(lambda: journal.read(tmp_path / "log"))
    done = await look(sim, made)
    assert (done["id"], done["status"], done["usage"]["output_tokens"]) == (made["id"], "incomplete", 5)
    assert sim.counters.generation_tokens == 5


async def test_a_cancelled_response_stops_and_counts_what_was_made(start, tmp_path):
    sim = await start(sim_responses_store=True, sim_log=tmp_path / "log", sim_tokens_per_second=100)
    made = await make(sim, background=True, max_output_tokens=8000)
    await until(lambda: sim.counters.generation_tokens >= 3)
    cancelled = await ask(sim, f"{PATH}/{made['id']}/cancel", b"")
    assert (cancelled.status, msgspec.json.decode(cancelled.body)["status"]) == (200, "cancelled")
    await until(lambda: journal.read(tmp_path / "log"))
    (entry,) = journal.read(tmp_path / "log")
    assert (entry.outcome, entry.generated_tokens) == ("aborted", sim.counters.generation_tokens)
    assert entry.generated_tokens < 8000
    assert (await look(sim, made))["status"] == "cancelled"
    assert (await ask(sim, f"{PATH}/{made['id']}/cancel", b"")).status == 400


async def test_a_background_stream_can_be_read_again_from_any_event(start):
    sim = await start(sim_responses_store=True)
    whole = await ask(sim, PATH, body(background=True, stream=True))
    found = named_events(whole.body)
    assert [name for name, _ in found][0 :: len(found) - 1] == ["response.created", "response.completed"]
    made = msgspec.json.decode(found[-1][1])["response"]
    again = await get(sim, f"{PATH}/{made['id']}?stream=true&starting_after=2")
    assert named_events(again.body) == found[3:]
    assert await look(sim, made) == made


async def to_the_end(wire):
    while await wire.chunk():
        pass


async def test_who_reads_a_stream_that_is_cancelled_or_fails_is_cut_off(start):
    sim = await start(sim_responses_store=True, sim_tokens_per_second=100)
    wire, sent = await sim.wire(), body(background=True, stream=True, max_output_tokens=8000)
    head = [("Host", "test"), ("Content-Type", "application/json"), ("Content-Length", str(len(sent)))]
    await wire.send("POST", PATH, head, sent)
    await wire.head()
    made = msgspec.json.decode(named_events(await wire.chunk())[0][1])["response"]
    assert (await ask(sim, f"{PATH}/{made['id']}/cancel", b"")).status == 200
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await to_the_end(wire)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await ask(sim, PATH, body(background=True, stream=True), ("X-Sim-Fault", "drop"))
    failed = await ask(sim, PATH, body(background=True, request_id="resp_f"), ("X-Sim-Fault", "error"))
    assert failed.status == 200
    assert (await look(sim, {"id": "resp_f"}))["status"] in ("queued", "failed")
    await until(lambda: sim.counters.running == 0)
    assert (await look(sim, {"id": "resp_f"}))["status"] == "failed"
