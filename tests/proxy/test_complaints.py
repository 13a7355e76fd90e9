"""What others got wrong about limits (docs/limits.md names the reports): each complaint, and that it does not hold here.

Here stands what the path of a request can show; what counters in Redis can is in `tests/proxy/limits`.
"""

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.limits import LEVELS
from proxy import form
from proxy.dialects import responses as own
from proxy.dialects import table
from proxy.form import Part
from proxy.ports import Amounts
from tests.proxy.fakes import KEY, KEY_RECORD, held, holding
from tests.proxy.lane.talk import ANSWER, BODY, CHAT, ok
from tests.proxy.lane.test_limits import EVENT, SSE, STREAM, leave, limited
from tests.proxy.memory import Bench, get, post, responses

REQUESTS, PLACES = held("requests", 3), held("concurrency", 2)
TOKENS = held("total_tokens", 1_000_000, precision="expected")
TEXT = [{"role": "user", "content": "hello"}]
BODIES: dict[str, Any] = {
    "/v1/chat/completions": {"messages": TEXT},
    "/v1/completions": {"prompt": "a"},
    "/v1/chat/completions/batch": {"messages": [TEXT]},
    "/v1/responses": {"input": "a"},
    "/v1/messages": {"messages": TEXT, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": TEXT},
    "/cohere/v2/chat": {"messages": TEXT},
    "/inference/v1/generate": {"token_ids": [1], "sampling_params": {}},
    "/invocations": {"messages": TEXT},
    "/v1/embeddings": {"input": "a"},
    "/v2/embed": {"texts": ["a"]},
    "/pooling": {"input": "a"},
    "/classify": {"input": "a"},
    "/score": {"text_1": "a", "text_2": "b"},
    "/v1/score": {"text_1": "a", "text_2": "b"},
    "/rerank": {"query": "a", "documents": ["b"]},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/v2/rerank": {"query": "a", "documents": ["b"]},
    "/generative_scoring": {"query": "a", "items": ["b"]},
    "/v1/systemone": {"questions": {"a": "b"}},
    "/tokenize": {"prompt": "a"},
    "/detokenize": {"tokens": [1]},
}
SALT = Bench().lane.desk.house.salt("ten_search")


def request(route: table.Route) -> bytes:
    """Return a request that the route takes."""
    if route.path in BODIES:
        return post(route.path, msgspec.json.encode({"model": "tiny", **BODIES[route.path]}))
    if "{" in route.path:
        path = route.path.replace("{response_id}", own.new_id(SALT))
        return get(path) if route.methods == ("GET",) else post(path, b"{}")
    parts = [Part("model", b"tiny"), Part("stream", b"true"), Part("file", b"RIFF", b"a.wav")]
    body = form.put_together(parts, b"x")
    return post(route.path, body).replace(b"application/json", b"multipart/form-data; boundary=x")


ROUTES = [route for route in table.ROUTES if route.dialect is not None and route.path != "/v1/realtime"]


@pytest.mark.parametrize("route", ROUTES, ids=[route.path for route in ROUTES])
def test_no_path_escapes(route: table.Route) -> None:
    """Bifrost 2873: passthrough routes escape budgets. LiteLLM 38176: budgets ignore Responses and Messages."""
    bench, fake = limited(held("requests", 1), TOKENS)
    bench.send(request(route))
    assert len(fake.demands) == 1
    assert len(fake.open) == 1
    bench.answer(ok())
    bench.forget()
    bench.send(request(route))
    (response,) = responses(bench.client.take())
    assert response.status == 429
    assert not bench.upstream.written


@pytest.mark.parametrize("level", LEVELS)
def test_a_limit_of_any_level_is_enforced(level: str) -> None:
    """LiteLLM 26672: budgets are stored and not enforced."""
    bench, _ = limited(TOKENS, held("requests", 1, "day", of=(level, f"{level}_1")))
    statuses = []
    for _ in range(2):
        bench.forget()
        bench.send(post(CHAT, BODY))
        if bench.upstream.written:
            bench.answer(ok())
        statuses += [response.status for response in responses(bench.client.take())]
    assert statuses == [200, 429]


WAYS: dict[str, Any] = {
    "answered": lambda bench: bench.answer(ok()),
    "refused": lambda bench: bench.answer(b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}"),
    "failed": lambda bench: bench.answer(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}"),
    "nonsense": lambda bench: bench.answer(b"SSH\r\n"),
    "left": leave,
    "late": lambda bench: [each.check(time.monotonic() + 10_000) for each in list(bench.lane.clients)],
}


@given(st.lists(st.sampled_from(sorted(WAYS)), max_size=12))
def test_nothing_stays_reserved_whatever_happens(ways: list[str]) -> None:
    """LiteLLM 27639: reservations are never released, and people who used almost nothing are blocked."""
    bench, fake = limited(held("requests", 100), PLACES, TOKENS)
    for way in ways:
        bench.client = bench.connect()
        bench.upstreams[:] = [bench.keep_connection()]
        bench.send(post(CHAT, BODY))
        assert len(fake.open) == 1, "let in: nothing is held back by those before"
        WAYS[way](bench)
        assert not fake.open
    assert fake.used[held("requests", 100).name] == len(ways)
    assert len(bench.recorder.closes) == len(ways)


def test_timeouts_give_their_places_back() -> None:
    """LiteLLM 20256: upstream timeouts leak parallel slots, and the key is locked until Redis is reset."""
    bench, fake = limited(PLACES)
    for _ in range(5):
        bench.client = bench.connect()
        bench.upstreams[:] = [bench.keep_connection()]
        bench.send(post(CHAT, BODY))
        WAYS["late"](bench)
        (response,) = responses(bench.client.take())
        assert response.status == 504
    assert not fake.open


def test_a_rejection_by_one_limit_takes_nothing_of_the_others() -> None:
    """LiteLLM 39309: what one limit rejects stays charged to the others."""
    full = held("requests", 0, of=("key", "key_1"))
    bench, fake = limited(TOKENS, REQUESTS, PLACES, full)
    for _ in range(20):
        bench.send(post(CHAT, BODY))
    assert all(response.status == 429 for response in responses(bench.client.take()))
    assert not fake.open
    assert not +fake.used
    bench.directory.known[KEY] = holding(TOKENS, REQUESTS, PLACES)
    bench.send(post(CHAT, BODY))
    assert bench.upstream.written


def test_no_more_get_in_at_once_than_there_is_room_for() -> None:
    """new-api 6609, one-api 2440: between the check and the deduction, others get in."""
    bench, fake = limited(REQUESTS, kept=0)
    clients = []
    for _ in range(10):
        bench.keep_connection()
        bench.client = bench.connect()
        clients.append(bench.client)
        bench.send(post(CHAT, BODY))
    assert sum(bool(each.written) for each in bench.upstreams) == REQUESTS.limit.amount
    assert len(fake.open) == REQUESTS.limit.amount
    assert sum(b" 429 " in each.take() for each in clients) == 10 - REQUESTS.limit.amount


def test_reading_a_stored_response_again_uses_no_tokens() -> None:
    """LiteLLM 25015: every poll of a stored response is billed as the response was."""
    bench, fake = limited(TOKENS)
    path = f"/v1/responses/{own.new_id(SALT)}"
    for _ in range(3):
        bench.send(get(path))
        bench.answer(ok(b'{"id":"resp_1","usage":{"input_tokens":300,"output_tokens":200}}'))
    assert fake.settled == [Amounts(0, 0)] * 3


def test_streamed_responses_are_counted() -> None:
    """Bifrost 4484: all streamed Responses have zero tokens."""
    bench, fake = limited(TOKENS)
    bench.send(post("/v1/responses", b'{"model":"tiny","input":"a","stream":true}'))
    done = (
        b'event: x\ndata: {"type":"response.completed","response":{"usage":{"input_tokens":7,"output_tokens":5}}}\n\n'
    )
    bench.answer(SSE, b"%x\r\n%b\r\n0\r\n\r\n" % (len(done), done))
    assert fake.settled == [Amounts(7, 5)]


def test_a_cancelled_stream_is_charged_what_it_had() -> None:
    """Bifrost 3709: 806 deltas, one token billed."""
    bench, fake = limited(TOKENS)
    bench.send(post(CHAT, STREAM))
    bench.answer(SSE)
    for count in range(1, 807):
        event = EVENT.replace(b'"completion_tokens":2', b'"completion_tokens":%d' % count)
        bench.answer(b"%x\r\n%b\r\n" % (len(event), event))
    leave(bench)
    assert fake.settled == [Amounts(3, 806)]


def test_who_leaves_before_anything_is_counted_is_not_free() -> None:
    """new-api 7062: a disconnect is billed zero, so that whoever leaves in time has no limit."""
    bench, fake = limited(TOKENS)
    bench.send(post(CHAT, b'{"model":"tiny","messages":[],"max_tokens":50}'))
    leave(bench)
    assert fake.settled == [fake.demands[0].estimate]
    assert fake.settled[0].output == 50


def test_an_empty_answer_has_no_output() -> None:
    """new-api 4168: an empty reply is billed."""
    bench, fake = limited(TOKENS)
    bench.send(post(CHAT, BODY))
    bench.answer(ok(ANSWER.replace(b'"completion_tokens":2', b'"completion_tokens":0')))
    assert fake.settled == [Amounts(3, 0)]


def test_a_proxy_that_is_stopped_settles_what_runs() -> None:
    """LiteLLM 38157: a graceful shutdown discards what was queued, silently."""
    bench, fake = limited(TOKENS)
    bench.send(post(CHAT, STREAM))
    bench.answer(SSE, b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
    for client in list(bench.lane.clients):
        client.cut()
    assert fake.settled == [Amounts(3, 2)]
    assert bench.usage.key == KEY_RECORD.id
