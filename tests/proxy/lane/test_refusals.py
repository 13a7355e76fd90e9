"""What the lane refuses itself: never a byte of it reaches vLLM, and each is recorded as denied."""

import pytest

from contracts.projection import KeyRecord
from proxy.models import Catalog, Served
from proxy.ports import Principal, Refusal
from tests.proxy.lane.talk import BODY, CHAT, error
from tests.proxy.memory import Bench, get, post, responses


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (post(CHAT, BODY, key=None), (401, "invalid_api_key")),
        (post(CHAT, BODY, b"Authorization: Basic xyz", key=None), (401, "invalid_api_key")),
        (post("/v1/nothing", BODY), (404, "unknown_endpoint")),
        (post("/v1/chat/completions/", BODY), (404, "unknown_endpoint")),
        (post("//v1/chat/completions", BODY), (404, "unknown_endpoint")),
        (post("/v1/chat%2Fcompletions", BODY), (404, "unknown_endpoint")),
        (post("/metrics", BODY), (404, "unknown_endpoint")),
        (get(CHAT), (405, "method_not_allowed")),
        (post(CHAT, b'{"model":"tiny","messages":['), (400, "invalid_json")),
        (post(CHAT, b"[]"), (400, "invalid_json")),
        (post(CHAT, b""), (400, "invalid_json")),
        (post(CHAT, b'{"model":"a","model":"b"}'), (400, "invalid_json")),
        (post(CHAT, b'{"model":"\xff"}'), (400, "invalid_json")),
        (post(CHAT, b'{"a":' * 100_000), (400, "invalid_json")),
        (post(CHAT, b'{"model":7}'), (400, "invalid_request")),
        (post(CHAT, b'{"model":"tiny","stream":"yes"}'), (400, "invalid_request")),
        (b"GET / HTTP/1.1\nHost: a\n\n", (400, "invalid_request")),
        (post(CHAT, b"x" * 2_000_001), (413, "request_too_large")),
        (get("/version", b"X: " + b"y" * 70_000), (431, "headers_too_large")),
    ],
)
def test_refusals(request_: bytes, expected: tuple[int, str]) -> None:
    bench = Bench(max_body=2_000_000)
    for start in range(0, len(request_), 50_000):
        bench.send(request_[start : start + 50_000])
    assert error(bench) == expected
    assert bench.upstream.take() == b""
    (decision,) = bench.recorder.decisions
    assert (decision.decision, decision.status, decision.code) == ("denied", *expected)
    assert not bench.recorder.opens
    bench.lane.desk.flush_metrics()
    assert bench.registry.get_sample_value("weighbridge_denied_total", {"code": expected[1]}) == 1


def test_unauthorized_paths() -> None:
    bench = Bench()
    bench.send(get("/health", key=None))
    assert b"GET /health" in bench.upstream.take()
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert responses(bench.client.take(), method="GET")[0].status == 200
    bench.send(get("/v1/models", key=None))
    assert error(bench) == (401, "invalid_api_key")
    assert not bench.recorder.closes


def test_refused_key_is_recorded_with_its_owner() -> None:
    bench = Bench()
    record = KeyRecord(id="key_2", tenant="ten_b", models=("other",), revision=1)
    bench.directory.known[b"k2"] = Principal(record, {})
    bench.send(post(CHAT, BODY, key=b"k2"))
    assert error(bench) == (403, "model_not_allowed")
    (decision,) = bench.recorder.decisions
    assert (decision.tenant, decision.key, decision.model) == ("ten_b", "key_2", "tiny")


def test_a_full_spool_refuses() -> None:
    bench = Bench()
    bench.recorder.refusal = Refusal("spool_full", "The spool is full.")
    bench.send(post(CHAT, BODY))
    assert error(bench) == (503, "spool_full")
    assert not bench.recorder.opens
    assert [one.decision for one in bench.recorder.decisions] == ["denied"]


def test_model_that_is_not_served() -> None:
    bench = Bench()
    bench.lane.desk.house.models = Catalog(listed=True, by_name={"big": Served("big", "big")}, default="big")
    bench.lane.desk.models._looked_at = float("inf")
    bench.send(post(CHAT, BODY))
    assert error(bench) == (404, "model_not_found")
