"""Limits on the fast lane: what is taken, what clients are told, and that every end gives back, once."""

import asyncio
import logging
import time
from typing import Any

import msgspec
import pytest

from contracts.events import RequestData
from contracts.limits import Held
from proxy.models import Catalog, Served
from proxy.ports import Amounts, Refusal
from tests.proxy.fakes import KEY, RETRY, MemoryLimits, held, holding
from tests.proxy.lane.talk import BODY, CHAT, error, ok
from tests.proxy.memory import Bench, Response, get, post, responses

STREAM = b'{"model":"tiny","stream":true,"messages":[]}'
EVENT = b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKENS, REQUESTS, PLACES = held("total_tokens", 10_000), held("requests", 5), held("concurrency", 2)
ALL = (TOKENS, REQUESTS, PLACES)


def limited(
    *limits: Held, catalog: bool = False, plan: dict[str, Any] | None = None, **changes: Any
) -> tuple[Bench, MemoryLimits]:
    fake = MemoryLimits()
    bench = Bench(limits=fake, **changes)
    bench.directory.known[KEY] = holding(*limits, **(plan or {}))
    if catalog:
        served = {name: Served(name, name) for name in ("tiny", "small")}
        bench.lane.desk.house.models = Catalog(listed=True, by_name=served, default="tiny", contexts={"tiny": 2048})
    return bench, fake


def told(bench: Bench) -> Response:
    (response,) = responses(bench.client.take(), closed=True)
    return response


def decided(bench: Bench) -> RequestData:
    return bench.recorder.decisions[-1]


def test_what_is_taken_is_settled_with_what_was_used() -> None:
    bench, fake = limited(*ALL)
    bench.send(post(CHAT, b'{"model":"tiny","messages":[],"max_tokens":20}'))
    (demand,) = fake.demands
    assert (demand.request_id, demand.model, demand.bound.output) == ("req_000001", "tiny", 20)
    assert decided(bench).reserved_tokens == demand.bound.input + 20
    bench.answer(ok())
    assert fake.settled == [Amounts(3, 2)]
    assert (fake.used[TOKENS.name], fake.used[REQUESTS.name], fake.used[PLACES.name]) == (5, 1, 0)
    assert not fake.open


def test_who_has_no_limits_is_not_asked_about() -> None:
    bench, fake = limited()
    bench.send(post(CHAT, BODY))
    assert bench.upstream.take().endswith(bench.lane.desk.house.salt("ten_search").encode() + b'"}')
    bench.answer(ok())
    assert not fake.demands
    assert decided(bench).reserved_tokens is None
    assert not [name for name, _ in told(bench).headers if b"ratelimit" in name.lower()]


def test_admitted_answers_tell_the_tightest_limits() -> None:
    bench, _ = limited(*ALL)
    bench.send(post(CHAT, b'{"model":"tiny","messages":[],"max_tokens":20}'))
    bench.answer(ok())
    response = told(bench)
    assert response.header("x-ratelimit-limit-requests") == "5"
    assert response.header("x-ratelimit-remaining-requests") == "4"
    assert response.header("x-ratelimit-limit-tokens") == "10000"
    reset = response.header("x-ratelimit-reset-tokens")
    assert reset is not None
    assert reset.endswith("s")
    bench.send(post("/v1/messages", b'{"model":"tiny","messages":[],"max_tokens":20}'))
    bench.answer(ok(b'{"id":"m","usage":{"input_tokens":3,"output_tokens":2}}'))
    assert told(bench).header("anthropic-ratelimit-requests-remaining") == "3"


def test_an_answer_of_ours_to_what_was_admitted_tells_them_too() -> None:
    bench, fake = limited(*ALL)
    bench.send(post(CHAT, BODY))
    bench.answer(b"SSH-2.0-x\r\n")
    response = told(bench)
    assert (response.status, response.header("x-ratelimit-remaining-requests")) == (502, "4")
    assert fake.settled == [Amounts(0, 0)]


def test_what_is_denied_says_so_and_takes_nothing() -> None:
    bench, fake = limited(TOKENS, held("requests", 1))
    bench.send(post(CHAT, BODY))
    bench.answer(ok())
    before = dict(fake.used)
    bench.forget()
    bench.send(post(CHAT, BODY))
    response = told(bench)
    body = msgspec.json.decode(response.body)["error"]
    assert (response.status, body["type"], body["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert response.header("retry-after") == "13", f"{RETRY} rounded up"
    assert response.header("x-should-retry") is None
    decision = decided(bench)
    assert (decision.decision, decision.code, decision.limit) == ("denied", "rate_limit_exceeded", "lim_requests")
    assert (decision.status, decision.admitted_at, decision.reserved_tokens) == (429, None, None)
    assert not bench.upstream.take()
    assert not fake.open
    assert fake.used == before


@pytest.mark.parametrize(
    ("limit", "status", "kind", "code"),
    [
        (held("requests", 0, "day"), 429, "insufficient_quota", "insufficient_quota"),
        (held("concurrency", 0), 429, "rate_limit_error", "concurrency_limit_exceeded"),
        (held("total_tokens", 100), 400, "invalid_request_error", "invalid_request"),
    ],
)
def test_codes(limit: Held, status: int, kind: str, code: str) -> None:
    bench, _ = limited(limit)
    bench.send(post(CHAT, BODY))
    response = told(bench)
    error = msgspec.json.decode(response.body)["error"]
    assert (response.status, error["type"], error["code"]) == (status, kind, code)
    assert decided(bench).limit == limit.limit.id


def test_limits_that_cannot_be_asked() -> None:
    bench, fake = limited(*ALL)
    fake.away = True
    bench.send(post(CHAT, BODY))
    response = told(bench)
    assert (response.status, response.header("retry-after")) == (503, "2")
    bench.send(post("/v1/messages", BODY))
    response = told(bench)
    assert response.status == 529
    assert msgspec.json.decode(response.body)["error"]["type"] == "overloaded_error"


# -- every end -----------------------------------------------------------------------------------------------------


def leave(bench: Bench) -> None:
    bench.client.lose()
    bench.upstream.lose()


def break_off(bench: Bench) -> None:
    bench.answer(ok()[:-5])
    bench.upstream.lose()


def take_too_long(bench: Bench) -> None:
    (client,) = bench.lane.clients
    client.check(time.monotonic() + 10_000)


def end_at_once(bench: Bench) -> None:
    for client in list(bench.lane.clients):
        client.cut()


ENDS: dict[str, tuple[Any, Amounts | None]] = {
    "answered": (lambda bench: bench.answer(ok()), Amounts(3, 2)),
    "refused by vLLM": (
        lambda bench: bench.answer(b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}"),
        Amounts(0, 0),
    ),
    "failed": (lambda bench: bench.answer(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}"), Amounts(0, 0)),
    "broken off": (break_off, Amounts(0, 0)),
    "too long": (take_too_long, Amounts(0, 0)),
    "cut": (end_at_once, Amounts(0, 0)),
    "nonsense": (lambda bench: bench.answer(b"SSH\r\n"), Amounts(0, 0)),
    "client left": (leave, None),
}


@pytest.mark.parametrize("way", ENDS)
def test_every_end_gives_back_once(way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    end, used = ENDS[way]
    bench, fake = limited(*ALL)
    bench.send(post(CHAT, BODY))
    assert len(fake.open) == 1
    end(bench)
    assert not fake.open
    assert fake.released == 0
    assert fake.settled == [used if used is not None else fake.demands[0].estimate]
    bench.client.lose()
    assert len(fake.settled) == 1
    assert fake.used[PLACES.name] == 0


def test_a_stream_that_is_cut_is_settled_with_what_was_counted() -> None:
    bench, fake = limited(*ALL)
    bench.send(post(CHAT, STREAM))
    bench.answer(SSE, b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
    leave(bench)
    assert fake.settled == [Amounts(3, 2)]


async def test_a_request_that_is_sent_again_is_settled_once() -> None:
    bench, fake = limited(*ALL)
    bench.send(post(CHAT, BODY))
    bench.upstream.lose()  # a kept connection that was closed as the request went out: another one is tried
    assert (len(fake.open), fake.settled) == (1, [])
    await recorded(bench)
    assert told(bench).status == 502
    assert (len(fake.open), fake.settled, fake.released) == (0, [Amounts(0, 0)], 0)


async def recorded(bench: Bench) -> None:
    async with asyncio.timeout(60):
        while not bench.recorder.closes:
            await asyncio.sleep(0.01)


async def test_what_was_never_sent_is_given_back_whole() -> None:
    bench, fake = limited(*ALL, kept=0)
    bench.send(post(CHAT, BODY))  # there is no vLLM at port 1
    await recorded(bench)
    assert told(bench).status == 502
    assert (fake.settled, fake.released, len(fake.open)) == ([], 1, 0)
    assert not fake.used[REQUESTS.name]


def test_what_cannot_be_recorded_takes_nothing() -> None:
    bench, fake = limited(*ALL)
    bench.recorder.refusal = Refusal("spool_full", "Full.")
    bench.send(post(CHAT, BODY))
    assert error(bench) == (503, "spool_full")
    assert (len(fake.demands), fake.released, len(fake.open), fake.settled) == (1, 1, 0, [])


async def test_limits_that_have_to_be_waited_for() -> None:
    bench, fake = limited(*ALL)
    fake.distant, fake.waiting = True, asyncio.Event()
    bench.send(post(CHAT, BODY))
    await asyncio.sleep(0)
    assert not bench.upstream.written
    fake.waiting.set()
    async with asyncio.timeout(60):
        while not bench.upstream.written:
            await asyncio.sleep(0.001)
    bench.answer(ok())
    assert told(bench).header("x-ratelimit-limit-requests") == "5"
    assert fake.settled == [Amounts(3, 2)]


async def test_a_client_that_leaves_while_limits_are_waited_for_takes_nothing() -> None:
    bench, fake = limited(*ALL)
    fake.distant, fake.waiting = True, asyncio.Event()
    bench.send(post(CHAT, BODY))
    await asyncio.sleep(0.01)
    bench.client.lose()
    fake.waiting.set()
    await asyncio.sleep(0.01)
    assert (fake.demands, fake.open, bench.recorder.decisions) == ([], {}, [])


# -- caps, models, modes -------------------------------------------------------------------------------------------


def sent(bench: Bench) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(bench.upstream.take().partition(b"\r\n\r\n")[2])
    return body


def test_a_strict_limit_has_a_cap_written() -> None:
    bench, fake = limited(TOKENS, catalog=True)
    bench.send(post(CHAT, BODY))
    assert sent(bench)["max_completion_tokens"] == 2048
    assert fake.demands[0].bound.output == 2048


def test_a_plans_cap_is_written_without_any_limit() -> None:
    bench, fake = limited(plan={"max_tokens": 9})
    bench.send(post(CHAT, b'{"model":"tiny","messages":[],"max_tokens":20}'))
    assert sent(bench)["max_tokens"] == 9
    assert not fake.demands
    bench.answer(ok())
    assert bench.usage.outcome == "completed"


def test_a_plans_models_are_all_that_may_be_used() -> None:
    plan = {"plan_models": (frozenset({"tiny", "small"}), frozenset({"small"}))}
    bench, _ = limited(catalog=True, plan=plan)
    bench.send(post(CHAT, BODY))
    assert error(bench) == (403, "model_not_allowed")
    bench.send(post(CHAT, b'{"model":"small","messages":[]}'))
    assert bench.upstream.written


def test_degrade_sends_it_to_another_model() -> None:
    limit = held("requests", 1, "day", when_reached="degrade", degrade_to="small")
    own = held("requests", 9, model="small", of=("key", "key_1"))
    bench, fake = limited(limit, own, catalog=True)
    for model in ("tiny", "small"):
        bench.forget()
        bench.send(post(CHAT, BODY))
        assert sent(bench)["model"] == model
        bench.answer(ok(b'{"model":"%b","usage":{"prompt_tokens":3,"completion_tokens":2}}' % model.encode()))
        assert told(bench).status == 200
        usage = bench.usage
        assert (usage.model, usage.served_model, usage.base_model) == ("tiny", model, model)
        assert decided(bench).decision == "admitted"
    assert fake.used[own.name] == 1, "held to the limits of the model that answers"
    assert fake.used[limit.name] == 1
    bench.lane.desk.house.models = Catalog(listed=True, by_name={"tiny": Served("tiny", "tiny")}, default="tiny")
    bench.send(post(CHAT, BODY))
    assert error(bench) == (429, "insufficient_quota")


def test_notify_denies_nothing() -> None:
    bench, _ = limited(held("requests", 0, when_reached="notify"))
    bench.send(post(CHAT, BODY))
    assert bench.upstream.written
    assert decided(bench).decision == "admitted"


def test_a_limit_in_shadow_says_what_it_would_have_denied() -> None:
    bench, fake = limited(held("requests", 0, mode="shadow"))
    bench.send(post(CHAT, BODY))
    bench.answer(ok())
    decision = decided(bench)
    assert (decision.decision, decision.code, decision.limit) == ("would_deny", "rate_limit_exceeded", "lim_requests")
    assert decision.admitted_at is not None
    assert told(bench).status == 200
    assert fake.settled == [Amounts(3, 2)]


def test_a_proxy_in_shadow_changes_nothing_and_says_what_it_would_deny() -> None:
    bench, fake = limited(TOKENS, held("requests", 0), enforce="shadow", plan={"max_tokens": 5})
    bench.send(post(CHAT, b'{"model":"tiny","messages":[],"max_tokens":20}'))
    assert sent(bench)["max_tokens"] == 20
    bench.answer(ok())
    decision = decided(bench)
    assert (decision.decision, decision.limit) == ("would_deny", "lim_requests")
    assert not fake.open
    bench, fake = limited(*ALL, enforce="off")
    bench.send(post(CHAT, BODY))
    assert not fake.demands


@pytest.mark.parametrize("hop", ["prefill", "decode", "retry"])
def test_only_the_root_of_a_request_takes(hop: str) -> None:
    bench, fake = limited(*ALL, trusted_proxies=("192.0.2.0/24",))
    bench.send(post(CHAT, BODY, b"X-Weighbridge-Hop: " + hop.encode()))
    bench.answer(ok())
    assert not fake.demands
    bench.send(post(CHAT, BODY, b"X-Weighbridge-Hop: root"))
    assert len(fake.demands) == 1


def test_what_is_free_takes_requests_and_places_alone() -> None:
    bench, fake = limited(*ALL)
    bench.send(post("/tokenize", b'{"model":"tiny","prompt":"' + b"a" * 100_000 + b'"}'))
    assert fake.demands[0].bound == Amounts(0, 0)
    bench.answer(ok(b'{"tokens":[]}'))
    assert (fake.used[REQUESTS.name], fake.used[TOKENS.name]) == (1, 0)
    bench.send(get("/v1/models"))
    assert len(fake.demands) == 1, "not recorded, not counted"


def test_what_is_no_number_is_refused_where_limits_ask() -> None:
    bench, fake = limited(*ALL)
    bench.send(post(CHAT, b'{"model":"tiny","messages":[],"max_tokens":"9"}'))
    assert error(bench) == (400, "invalid_request")
    assert not fake.demands


def test_answers_are_learned_from() -> None:
    bench, fake = limited(held("total_tokens", 10_000, precision="expected"))
    for _ in range(2):
        bench.send(post(CHAT, BODY))
        bench.answer(ok())
    assert fake.demands[0].estimate.output > 2
    assert fake.demands[1].estimate.output == 2, "as the answer before"
    assert fake.demands[1].estimate.input < fake.demands[0].estimate.input
