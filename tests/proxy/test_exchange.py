"""The state machine by itself: every way from an arrival to a settlement, at times that the test chooses."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import RequestData, UsageData
from contracts.projection import KeyRecord
from proxy.errors import Answer
from proxy.exchange import Exchange
from proxy.house import House
from proxy.models import Catalog, Served
from proxy.ports import Principal, Refusal
from proxy.request_head import RequestHead
from proxy.sse import Fingerprint
from proxy.steps import Arrival, AskKey, AskModels, Forward
from tests.proxy.fakes import KEY_RECORD

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LISTED = Catalog(listed=True, by_name={"tiny": Served("tiny", "tiny"), "sql": Served("sql", "tiny")}, default="tiny")
BODY = b'{"model":"sql","messages":[],"user":"u-1"}'
ANSWER = (
    b'{"id":"c-1","model":"sql","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
)
WHO = Principal(KEY_RECORD, {"project": "search"})
JSON = [(b"content-type", b"application/json")]
SSE = [(b"Content-Type", b"Text/Event-Stream; charset=utf-8")]


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def exchange(
    body: bytes = BODY,
    method: str = "POST",
    target: bytes = b"/v1/chat/completions",
    catalog: Catalog = LISTED,
    **fields: str,
) -> Exchange:
    headers = [
        (name.replace("_", "-").encode(), value.encode())
        for name, value in ({"authorization": "Bearer k"} | fields).items()
    ]
    arrival = Arrival(RequestHead(method, target, headers, dict(headers), "192.0.2.7"), body, 100, NOW)
    house = House("gpu-0", "producer", "epoch", b"Bearer up", lambda tenant: f"salt-{tenant}", catalog, Fingerprint())
    return Exchange(house, "req_1", arrival)


def admitted(**changes: Any) -> Exchange:
    one = exchange(**changes)
    one.receive()
    assert isinstance(one.identified(WHO, at(1)), Forward)
    one.forwarded(at(2))
    return one


def answer(one: Exchange, body: bytes = ANSWER, status: int = 200, headers: list[tuple[bytes, bytes]] = JSON) -> bytes:
    one.answered(status, {name.lower(): value for name, value in headers}, at(3))
    return one.passed(body, last=True)


def settled(one: Exchange, outcome: Any = "completed") -> UsageData:
    usage = one.settle(outcome, at(9))
    assert usage is not None
    assert one.state == "settled"
    assert one.settle("client_closed", at(10)) is None, "a second settlement"
    return usage


def test_the_whole_way() -> None:
    one = exchange(x_request_id="theirs", user_agent="sdk/1", x_weighbridge_tags="env=prod,project=mine")
    asked = one.receive()
    assert isinstance(asked, AskKey)
    assert asked.token == b"k"
    forward = one.identified(WHO, at(1))
    assert isinstance(forward, Forward)
    decision = one.decision
    assert isinstance(decision, RequestData)
    assert (decision.decision, decision.code, decision.admitted_at) == ("admitted", None, at(1))
    assert one.admitted
    one.forwarded(at(2))
    assert answer(one) == ANSWER
    usage = settled(one)
    shared = [name for name in msgspec.structs.asdict(decision) if hasattr(usage, name) and name != "status"]
    assert all(getattr(usage, name) == getattr(decision, name) for name in shared)
    assert len(shared) >= 20
    assert (usage.received_at, usage.admitted_at, usage.forwarded_at) == (at(0), at(1), at(2))
    assert (usage.first_byte_at, usage.first_token_at, usage.last_byte_at) == (at(3), None, at(9))
    assert (usage.tenant, usage.team, usage.user, usage.key) == ("ten_search", "team_a", "user_b", "key_1")
    assert usage.tags == {"project": "search", "env": "prod"}
    assert (usage.model, usage.served_model, usage.base_model) == ("sql", "sql", "tiny")
    assert (usage.end_user, usage.client_request_id, usage.user_agent) == ("u-1", "theirs", "sdk/1")
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (3, 2, None)
    assert (usage.response_id, usage.finish_reason) == ("c-1", "stop")
    assert (usage.request_bytes, usage.response_bytes) == (100, len(ANSWER))
    assert (usage.dialect, usage.endpoint, usage.stream) == ("chat", "/v1/chat/completions", False)
    assert (usage.inputs, usage.choices) == (1, 1)
    assert msgspec.json.decode(msgspec.json.encode(usage), type=UsageData) == usage


def test_first_token_of_a_stream() -> None:
    """A comment is no token."""
    one = admitted(body=b'{"model":"tiny","stream":true}')
    one.answered(200, {b"content-type": SSE[0][1]}, at(3))
    one.passed(b": hello\n\n", last=False)
    assert [one.news] == [False]
    one.passed(b'data: {"choices":[{"index":0}]}\n\n', last=False)
    assert [one.news] == [True]
    one.noticed(at(4))
    one.passed(b'data: {"choices":[{"index":0}]}\n\n', last=False)
    assert [one.news, one.finished] == [False, False]
    one.passed(b"data: [DONE]\n\n", last=False)
    assert [one.news, one.finished] == [True, True]
    one.noticed(at(5))
    assert settled(one).first_token_at == at(4)


def denied(step: object, one: Exchange) -> tuple[int, str | None]:
    assert isinstance(step, Answer)
    assert one.state == "denied"
    decision = one.decision
    assert decision is not None
    assert (decision.decision, decision.status, decision.admitted_at) == ("denied", step.status, None)
    assert msgspec.json.decode(step.body)["error"]["code"] == decision.code
    assert not one.admitted
    assert one.settle("completed", NOW) is None
    return step.status, decision.code


def test_denials() -> None:
    one = exchange(authorization="")
    assert denied(one.receive(), one) == (401, "invalid_api_key")
    one = exchange(target=b"/v1/nothing")
    assert denied(one.receive(), one) == (404, "unknown_endpoint")
    one = exchange(method="GET")
    step = one.receive()
    assert denied(step, one) == (405, "method_not_allowed")
    assert isinstance(step, Answer)
    assert (b"allow", b"POST") in step.headers
    for refusal in (Refusal("tenant_suspended", "x"), Refusal("limits_unavailable", "x")):
        one = exchange()
        one.receive()
        assert denied(one.identified(refusal, NOW), one)[1] == refusal.code
    one = exchange(body=b"{")
    one.receive()
    assert denied(one.identified(WHO, NOW), one) == (400, "invalid_json")
    assert one.decision is not None
    assert one.decision.tenant == "ten_search"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": "revoked"}, "invalid_api_key"),
        ({"expires_at": NOW}, "expired_api_key"),
        ({"models": ("tiny",)}, "model_not_allowed"),
    ],
)
def test_keys_that_may_not(changes: dict[str, Any], code: str) -> None:
    one = exchange()
    one.receive()
    key: KeyRecord = msgspec.structs.replace(KEY_RECORD, **changes)
    assert denied(one.identified(Principal(key, {}), NOW), one)[1] == code


def test_models_are_looked_for_once() -> None:
    one = exchange(body=b'{"model":"new"}')
    one.receive()
    assert isinstance(one.identified(WHO, NOW), AskModels)
    assert denied(one.listed(NOW), one) == (404, "model_not_found")
    one = exchange(body=b'{"model":"new"}')
    one.receive()
    one.identified(WHO, NOW)
    one._house.models = Catalog(listed=True, by_name={"new": Served("new", "new")}, default="new")
    assert isinstance(one.listed(NOW), Forward)
    one = exchange(body=b'{"model":"new"}', catalog=Catalog())
    one.receive()
    assert isinstance(one.identified(WHO, NOW), Forward), "nothing is known: anything may be served"


def test_a_request_without_a_model_gets_the_default_one() -> None:
    one = admitted(body=b"{}")
    usage = settled(one)
    assert (usage.model, usage.served_model) == ("tiny", "tiny")
    one = exchange(body=b"{}")
    one.receive()
    key = msgspec.structs.replace(KEY_RECORD, models=("sql",))
    assert denied(one.identified(Principal(key, {}), NOW), one) == (403, "model_not_allowed")


def test_free_paths_are_not_metered() -> None:
    one = exchange(target=b"/health", method="GET", authorization="")
    assert isinstance(one.receive(), Forward)
    one = exchange(target=b"/version", method="GET", body=b"")
    one.receive()
    key = msgspec.structs.replace(KEY_RECORD, models=())
    step = one.identified(Principal(key, {}), NOW)
    assert isinstance(step, Forward)
    assert (b"authorization", b"Bearer up") in step.headers
    assert answer(one) == ANSWER
    assert one.decision is None
    assert one.settle("completed", NOW) is None


@pytest.mark.parametrize(
    ("status", "body", "outcome", "accuracy"),
    [
        (200, ANSWER, "completed", "exact"),
        (200, b"{}", "completed", "unknown"),
        (200, b"<html>", "completed", "unknown"),
        (400, ANSWER, "completed", "exact"),
        (404, b"", "completed", "exact"),
        (500, ANSWER, "upstream_error", "unknown"),
        (503, b"", "upstream_error", "unknown"),
    ],
)
def test_outcomes_by_status(status: int, body: bytes, outcome: str, accuracy: str) -> None:
    one = admitted()
    answer(one, body, status)
    usage = settled(one)
    assert (usage.outcome, usage.accuracy) == (outcome, accuracy)
    assert (usage.input_tokens is not None) == (status == 200 and body == ANSWER)


def test_upstream_that_fails() -> None:
    one = admitted()
    reply = one.fail("upstream_timeout", "Too slow.")
    assert (reply.status, settled(one, "upstream_timeout").status) == (504, 504)
    unsent = exchange()
    unsent.receive()
    unsent.identified(WHO, NOW)
    unsent.fail("upstream_unreachable", "Down.")
    assert settled(unsent, "upstream_error").accuracy == "exact"


def test_counts_so_far() -> None:
    one = admitted(body=b'{"model":"tiny","stream":true}')
    assert one.counted(at(3)) is None
    one.answered(200, {b"content-type": SSE[0][1]}, at(3))
    assert one.counted(at(3)) is None
    one.passed(b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":7,"completion_tokens":1}}\n\n', last=False)
    draft = one.counted(at(4))
    assert draft is not None
    assert (draft.input_tokens, draft.output_tokens, draft.accuracy, draft.outcome) == (7, 1, "estimated", "proxy_lost")
    usage = one.settle("client_closed", at(9), all_read=True)
    assert usage is not None
    assert (usage.accuracy, usage.outcome, usage.output_tokens) == ("exact", "client_closed", 1)


def test_some_prompts_have_not_reported() -> None:
    one = admitted(target=b"/v1/completions", body=b'{"model":"tiny","stream":true,"prompt":["a","b"]}')
    one.answered(200, {b"content-type": SSE[0][1]}, at(3))
    one.passed(b'data: {"choices":[{"index":1}],"usage":{"prompt_tokens":7,"completion_tokens":1}}\n\n', last=False)
    assert settled(one, "client_closed").accuracy == "estimated"


@given(
    st.lists(st.sampled_from(["answered", "piece", "end", "count", "settle", "lost", "fail", "forwarded"]), max_size=12)
)
def test_any_order_settles_once(steps: list[str]) -> None:
    """Whatever a lane tells it after the admission, there is one record, and it is one that an event may hold."""
    one = admitted(body=b'{"model":"tiny","stream":true}')
    records = []
    for step in steps:
        if step == "answered" and one.state != "streaming":  # an answer has one head
            one.answered(200, {b"content-type": SSE[0][1]}, at(3))
        elif step in ("piece", "end"):
            one.passed(
                b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":7,"completion_tokens":1}}\n\n', step == "end"
            )
        elif step == "count":
            one.counted(at(4))
        elif step == "fail":
            one.fail("upstream_error", "x")
        elif step == "forwarded" and one.state == "admitted":
            one.forwarded(at(2))
        elif step in ("settle", "lost"):
            records.append(one.settle("completed" if step == "settle" else "client_closed", at(9)))
        if one.state == "settled":
            break
    records.append(one.settle("proxy_lost", at(10)))
    (record,) = [each for each in records if each is not None]
    assert msgspec.json.decode(msgspec.json.encode(record), type=UsageData) == record
    assert (record.accuracy == "unknown") == (record.input_tokens is None)
