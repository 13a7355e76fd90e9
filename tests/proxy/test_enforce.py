"""Rolling it out: `off` only meters, `shadow` says what it would deny; neither lets pass what it cannot meter."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest

from contracts import events
from contracts.clock import utc_now
from contracts.events import Event, RequestData, UsageData
from contracts.projection import KeyRecord
from contracts.settings import SettingsError, load
from proxy.lost import lost_event
from proxy.models import Catalog, Served
from proxy.ports import Principal, Refusal
from proxy.recorder import SpoolRecorder
from proxy.settings import ProxySettings
from proxy.spool import adoption, record
from proxy.spool.header import Header
from proxy.spool.record import FINAL, Kind
from proxy.spool.segment import PAGE
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import Bench, get, post, responses

CHAT = "/v1/chat/completions"
BODY = b'{"model":"tiny","messages":[]}'
ANSWER = b'{"id":"c","model":"tiny","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
LENIENT = pytest.mark.parametrize("enforce", ["off", "shadow"])
OLD = datetime(2020, 1, 1, tzinfo=UTC)


def ask(bench: Bench, request: bytes) -> tuple[int, RequestData | None]:
    """Send a request that vLLM answers if it gets it; return the status and the decision."""
    bench.forget()
    bench.send(request)
    if bench.upstream.written:
        bench.answer(OK)
    (response,) = responses(bench.client.take(), method=request[:4].decode().strip())
    decisions = bench.recorder.decisions
    assert len(decisions) <= 1
    return response.status, decisions[0] if decisions else None


def listed(bench: Bench) -> None:
    bench.lane.desk.house.models = Catalog(listed=True, by_name={"tiny": Served("tiny", "tiny")}, default="tiny")


def told(decision: RequestData | None) -> tuple[str, str | None, str]:
    assert decision is not None
    return decision.decision, decision.code, decision.tenant


def wrong_keys(bench: Bench) -> list[tuple[bytes | None, str, str]]:
    """Return keys that are refused, with the code and the tenant that their requests are recorded under."""
    who = Principal(msgspec.structs.replace(KEY_RECORD, models=("big",)), {})  # of two reasons, the first is recorded
    bench.directory.known |= {
        b"unknown": Refusal("invalid_api_key", "No."),
        b"unclear": Refusal("limits_unavailable", "Redis is away."),
        b"suspended": Refusal("tenant_suspended", "No.", who),
    }
    codes: list[tuple[bytes | None, str, str]] = [
        (None, "invalid_api_key", "unassigned"),
        (b"unknown", "invalid_api_key", "unassigned"),
        (b"unclear", "limits_unavailable", "unassigned"),
        (b"suspended", "tenant_suspended", "ten_search"),
    ]
    changes: list[tuple[str, dict[str, Any]]] = [
        ("expired_api_key", {"expires_at": OLD}),
        ("invalid_api_key", {"status": "revoked"}),
        ("address_not_allowed", {"addresses": ("10.0.0.0/8",)}),
        ("endpoint_not_allowed", {"endpoints": ()}),
        ("model_not_allowed", {"models": ("big",)}),
    ]
    for number, (code, change) in enumerate(changes):
        key: KeyRecord = msgspec.structs.replace(KEY_RECORD, **change)
        bench.directory.known[b"key-%d" % number] = Principal(key, {})
        codes.append((b"key-%d" % number, code, "ten_search"))
    return codes


def test_every_denial_passes_in_shadow_and_is_recorded_with_its_code_and_its_usage() -> None:
    bench = Bench(enforce="shadow")
    for key, code, tenant in wrong_keys(bench):
        status, decision = ask(bench, post(CHAT, BODY, key=key))
        assert (status, *told(decision)) == (200, "would_deny", code, tenant)
        assert decision is not None
        assert decision.reason
        assert decision.status is None, "the client gets vLLM's answer"
        assert decision.admitted_at is not None
        usage = bench.usage
        assert (usage.request_id, usage.tenant, usage.input_tokens) == (decision.request_id, tenant, 3)
        assert (usage.key is None) == (tenant == "unassigned")
        assert msgspec.json.decode(msgspec.json.encode(decision), type=RequestData) == decision
    assert bench.lane.desk.in_flight == 0
    status, decision = ask(bench, post(CHAT, BODY))
    assert (status, *told(decision)) == (200, "admitted", None, "ten_search")
    bench.lane.desk.flush_metrics()
    counted = generate_latest(bench.registry).decode()
    assert 'weighbridge_would_deny_total{code="invalid_api_key"} 3.0' in counted
    assert "weighbridge_denied_total{" not in counted


def test_off_decides_nothing_and_meters() -> None:
    bench = Bench(enforce="off")
    for key, _, tenant in wrong_keys(bench):
        status, decision = ask(bench, post(CHAT, BODY, key=key))
        assert (status, *told(decision)) == (200, "admitted", None, tenant)
        assert (bench.usage.tenant, bench.usage.output_tokens) == (tenant, 2)


def test_on_denies_each_of_them() -> None:
    bench = Bench()
    for key, code, _ in wrong_keys(bench):
        status, decision = ask(bench, post(CHAT, BODY, key=key))
        assert status >= 400
        assert told(decision)[:2] == ("denied", code)
        assert not bench.upstream.written
        assert not bench.recorder.closes


@LENIENT
def test_what_cannot_be_metered_is_never_let_through(enforce: str) -> None:
    bench = Bench(enforce=enforce)
    for request, code in (
        (post("/v1/nothing", BODY), "unknown_endpoint"),
        (get(CHAT), "method_not_allowed"),
        (post(CHAT, b"{"), "invalid_json"),
        (post(CHAT, b'{"n":"x"}', key=None), "invalid_request"),
        (post("/v1/embeddings", BODY).replace(b"application/json", b"text/plain"), "unsupported_media_type"),
    ):
        status, decision = ask(bench, request)
        assert status >= 400
        assert told(decision)[:2] == ("denied", code)
        assert not bench.recorder.closes
    bench.recorder.refusal = Refusal("spool_full", "Full.")
    for key in (KEY, None):
        status, decision = ask(bench, post(CHAT, BODY, key=key))
        assert (status, *told(decision)[:2]) == (503, "denied", "spool_full")
    bench.recorder.refusal = None
    bench.send(b"no HTTP\r\n\r\n")
    assert responses(bench.client.take(), closed=True)[0].status == 400


@LENIENT
def test_models_that_vllm_does_not_name(enforce: str) -> None:
    bench = Bench(enforce=enforce)
    listed(bench)
    bench.lane.desk.models.may_look = lambda: False  # type: ignore[method-assign]
    status, decision = ask(bench, post(CHAT, b'{"model":"none"}'))
    expected = ("would_deny", "model_not_found") if enforce == "shadow" else ("admitted", None)
    assert (status, *told(decision)[:2]) == (200, *expected)


@LENIENT
def test_vllms_own_key_replaces_the_clients(enforce: str) -> None:
    for fields, key in (((), b"theirs"), ((b"X-API-Key: theirs",), None)):
        bench = Bench(enforce=enforce)
        bench.directory.known[b"theirs"] = Refusal("invalid_api_key", "No.")
        bench.send(post(CHAT, BODY, *fields, key=key))
        assert b"theirs" not in bench.upstream.written
        assert b"authorization: Bearer key-of-vllm\r\n" in bench.upstream.written


@LENIENT
def test_paths_that_are_not_metered(enforce: str) -> None:
    bench = Bench(enforce=enforce)
    status, decision = ask(bench, get("/version", key=None))
    assert status == 200
    if enforce == "off":
        assert decision is None
    else:
        assert told(decision) == ("would_deny", "invalid_api_key", "unassigned")
        assert decision is not None
        assert decision.admitted_at is None, "no usage follows"
    assert not bench.recorder.opens
    assert not bench.recorder.closes
    bench.directory.known[KEY] = Principal(msgspec.structs.replace(KEY_RECORD, models=("big",)), {})
    assert ask(bench, get("/v1/models")) == (200, None)


def test_a_proxy_that_dies_leaves_one_usage_event_for_what_it_would_have_denied(tmp_path: Any) -> None:
    spool = adoption.create(tmp_path, Header("weighbridge/x", "a" * 32, 1), 12 * 16 * PAGE, 16 * PAGE)
    recorder = SpoolRecorder(spool, allow_when_full=False)
    bench = Bench(enforce="shadow")
    bench.lane.desk._recorder = recorder
    bench.send(get("/version", key=None))
    bench.answer(OK)
    bench.client.take()
    bench.send(post(CHAT, BODY, key=None))
    assert bench.upstream.written, "sent, and not answered"
    group = spool.group(1.0)
    assert group is not None
    group.sync()
    spool.durable(group)
    spool.close()
    heir = adoption.adopt(tmp_path / ("a" * 32), lost_event, utc_now())
    assert heir is not None
    pieces = [*heir.backlog._sent, *heir.backlog._unsent]
    found = [entry for piece in pieces for entry in record.scan(piece.segment.read(piece.start, piece.end))]
    finals = [entry for entry in found if entry.kind in FINAL]
    assert [entry.kind for entry in finals] == [Kind.REQUEST, Kind.ADMITTED, Kind.USAGE]
    decisions = [msgspec.json.decode(entry.body, type=Event[RequestData]).data for entry in finals[:2]]
    assert [told(each) for each in decisions] == [("would_deny", "invalid_api_key", "unassigned")] * 2
    usage = msgspec.json.decode(finals[2].body, type=Event[UsageData]).data
    assert (usage.request_id, usage.tenant) == (decisions[1].request_id, events.UNASSIGNED)
    assert (usage.outcome, usage.accuracy, usage.status, usage.sequence) == ("proxy_lost", "unknown", None, 3)
    assert usage.admitted_at == decisions[1].admitted_at
    heir.close()


def test_the_setting() -> None:
    fine = {"upstream": "http://127.0.0.1:8000", "key_pepper": "sixteen bytes or more"}
    assert load(ProxySettings, **fine).plain().traffic(("", 0)).enforce == "on"
    assert load(ProxySettings, **fine, enforce="shadow").plain().traffic(("", 0)).enforce == "shadow"
    with pytest.raises(SettingsError, match="WEIGHBRIDGE_ENFORCE"):
        load(ProxySettings, **fine, enforce="maybe")
