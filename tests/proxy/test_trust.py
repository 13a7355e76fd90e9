"""What a trusted proxy may say, and that nobody else may: the client's address, a router's fields, the step of a request."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.settings import SettingsError, load
from proxy import trust
from proxy.ports import Principal
from proxy.settings import ProxySettings
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import Bench, post, responses

CHAT = "/v1/chat/completions"
BODY = b'{"model":"tiny","messages":[]}'
ANSWER = b'{"id":"c","model":"tiny","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
PEER = "192.0.2.7"
"""The address of the tests' client."""
TRUSTED = (PEER, "10.0.0.0/8", "2001:db8::/32")
STRANGER = ("192.0.2.8",)
STEPS = (b"X-Weighbridge-Hop: prefill", b"X-Weighbridge-Parent-Request-Id: req-root")


def sender(*forwarded: str, peer: str | None = PEER, networks: tuple[str, ...] = TRUSTED) -> trust.Sender:
    headers = [(b"X-Forwarded-For", entry.encode()) for entry in forwarded]
    return trust.sender(peer, headers, networks)


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ((), PEER),
        (("198.51.100.1",), "198.51.100.1"),
        (("203.0.113.9, 198.51.100.1",), "198.51.100.1"),
        (("203.0.113.9, 198.51.100.1, 10.1.2.3",), "198.51.100.1"),
        (("203.0.113.9", "198.51.100.1", "10.1.2.3"), "198.51.100.1"),
        (("10.1.2.3, 10.9.9.9",), "10.1.2.3"),
        (("198.51.100.1:4711",), "198.51.100.1"),
        (("[2001:db9::1]:4711, 2001:db8::1",), "2001:db9::1"),
        (("2001:db9::1",), "2001:db9::1"),
        (("::ffff:198.51.100.1, ::ffff:10.0.0.1",), "198.51.100.1"),
        (("198.51.100.1, unknown",), None),
        (("198.51.100.1, unknown, 10.0.0.1",), None),
        (("198.51.100.1, ",), None),
        (("\xff",), None),
    ],
)
def test_the_last_address_that_is_not_trusted_is_the_client(forwarded: tuple[str, ...], expected: str | None) -> None:
    assert sender(*forwarded).client_address == expected


@pytest.mark.parametrize(("peer", "networks"), [(PEER, ()), (PEER, STRANGER), ("11.0.0.1", TRUSTED), (None, TRUSTED)])
def test_others_are_not_believed(peer: str | None, networks: tuple[str, ...]) -> None:
    found = sender("198.51.100.1", peer=peer, networks=networks)
    assert (found.client_address, found.trusted) == (peer, False)


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::7"])
def test_networks_and_mapped_addresses(peer: str) -> None:
    assert sender(peer=peer).trusted


@given(st.lists(st.text(alphabet="0123456789abcdef.:[], %/", max_size=20), max_size=4))
def test_anything_may_stand_there(entries: list[str]) -> None:
    sender(*entries)


def ask(bench: Bench, *fields: bytes, body: bytes = BODY, path: str = CHAT) -> tuple[int, bytes]:
    """Send a request; return the status and what vLLM got."""
    bench.forget()
    bench.send(post(path, body, *fields))
    sent = bytes(bench.upstream.written)
    if sent:
        bench.answer(OK)
    return responses(bench.client.take())[0].status, sent


def test_a_keys_addresses_are_checked_against_the_forwarded_one() -> None:
    key = msgspec.structs.replace(KEY_RECORD, addresses=("198.51.100.0/24",))
    for trusted, forwarded, status, address in (
        (TRUSTED, b"198.51.100.1", 200, "198.51.100.1"),
        (TRUSTED, b"198.51.100.1, 203.0.113.1", 403, "203.0.113.1"),
        (TRUSTED, b"198.51.100.1, nonsense", 403, None),
        (STRANGER, b"198.51.100.1", 403, PEER),
        ((), b"198.51.100.1", 403, PEER),
    ):
        bench = Bench(trusted_proxies=trusted)
        bench.directory.known[KEY] = Principal(key, {})
        assert ask(bench, b"X-Forwarded-For: " + forwarded)[0] == status
        for each in (*bench.recorder.decisions, *bench.recorder.closes):
            assert each.client_address == address


def test_steps_of_a_request_are_recorded_when_a_trusted_proxy_says_them() -> None:
    for hop in ("root", "prefill", "decode", "retry"):
        bench = Bench(trusted_proxies=TRUSTED)
        status, sent = ask(bench, b"x-weighbridge-hop: " + hop.encode(), STEPS[1])
        assert status == 200
        for each in (*bench.recorder.decisions, bench.usage):
            assert (each.hop, each.parent_request_id) == (hop, "req-root")
        assert b"weighbridge" not in sent.lower()


@pytest.mark.parametrize("trusted", [(), STRANGER])
def test_steps_that_a_client_claims_are_nothing(trusted: tuple[str, ...]) -> None:
    bench = Bench(trusted_proxies=trusted)
    status, sent = ask(bench, *STEPS)
    assert status == 200
    for each in (*bench.recorder.decisions, bench.usage):
        assert (each.hop, each.parent_request_id) == ("root", None)
    assert b"weighbridge" not in sent.lower()


@pytest.mark.parametrize("enforce", ["on", "off"])
@pytest.mark.parametrize(
    "fields",
    [
        (b"x-weighbridge-hop: other",),
        (b"x-weighbridge-hop: ",),
        (b"x-weighbridge-hop: prefill", b"x-weighbridge-hop: root"),
        (b"x-weighbridge-parent-request-id: ",),
        (b"x-weighbridge-parent-request-id: " + b"x" * 513,),
        (b"x-weighbridge-parent-request-id: a", b"x-weighbridge-parent-request-id: b"),
    ],
)
def test_a_wrong_step_is_refused(fields: tuple[bytes, ...], enforce: str) -> None:
    bench = Bench(trusted_proxies=TRUSTED, enforce=enforce)
    assert ask(bench, *fields)[0] == 400
    assert [each.code for each in bench.recorder.decisions] == ["invalid_request"]
    assert ask(Bench(), *fields)[0] == 200, "of a client it means nothing"


def test_the_rank_is_a_routers_to_choose() -> None:
    for trusted, passes in ((TRUSTED, True), (STRANGER, False), ((), False)):
        bench = Bench(trusted_proxies=trusted)
        assert (b"X-data-parallel-rank: 3\r\n" in ask(bench, b"X-data-parallel-rank: 3")[1]) == passes


ROUTED = b'"kv_transfer_params":{"do_remote_decode":true},"ec_transfer_params":{"a":1}'
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nx\r\n'
    b'--b\r\nContent-Disposition: form-data; name="kv_transfer_params"\r\n\r\n{}\r\n'
    b'--b\r\nContent-Disposition: form-data; name="priority"\r\n\r\n1\r\n--b--\r\n'
)
BODIES: list[tuple[str, bytes]] = [
    (CHAT, b'{"model":"tiny","messages":[],"priority":1,"vllm_xargs":{},%b}' % ROUTED),
    ("/v1/completions", b'{"model":"tiny","prompt":"x","priority":1,"vllm_xargs":{},%b}' % ROUTED),
    ("/v1/responses", b'{"model":"tiny","input":"x","priority":1,"vllm_xargs":{},%b}' % ROUTED),
    ("/v1/messages", b'{"model":"tiny","messages":[],"priority":1,"vllm_xargs":{},%b}' % ROUTED),
    ("/invocations", b'{"model":"tiny","messages":[],"priority":1,"vllm_xargs":{},%b}' % ROUTED),
    (
        "/inference/v1/generate",
        b'{"model":"tiny","token_ids":[1],"priority":1,"sampling_params":{"extra_args":{"vllm_xargs":{},%b}}}' % ROUTED,
    ),
]


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize("trusted", [TRUSTED, STRANGER, ()])
def test_members_of_a_router_pass_from_a_trusted_proxy_alone(path: str, body: bytes, trusted: tuple[str, ...]) -> None:
    bench = Bench(trusted_proxies=trusted)
    status, sent = ask(bench, body=body, path=path)
    assert status == 200
    for name in (b"kv_transfer_params", b"ec_transfer_params"):
        assert (name in sent) == (trusted == TRUSTED)
    assert (b'{"do_remote_decode":true}' in sent) == (trusted == TRUSTED)
    assert b"priority" not in sent
    assert b"vllm_xargs" not in sent, "these steer the engine, whoever sends them"


@pytest.mark.parametrize("trusted", [TRUSTED, ()])
def test_forms_of_a_router(trusted: tuple[str, ...]) -> None:
    bench = Bench(trusted_proxies=trusted)
    request = post("/v1/audio/transcriptions", FORM).replace(b"application/json", b"multipart/form-data; boundary=b")
    bench.send(request)
    assert (b"kv_transfer_params" in bench.upstream.written) == bool(trusted)
    assert b"priority" not in bench.upstream.written


def test_the_setting() -> None:
    fine: dict[str, Any] = {"upstream": "http://127.0.0.1:8000", "key_pepper": "sixteen bytes or more"}
    traffic = load(ProxySettings, **fine, trusted_proxies="10.0.0.0/8, ::1,10.1.2.3/8").plain().traffic(("", 0))
    assert traffic.trusted_proxies == ("10.0.0.0/8", "::1", "10.1.2.3/8")
    with pytest.raises(SettingsError, match="WEIGHBRIDGE_TRUSTED_PROXIES"):
        load(ProxySettings, **fine, trusted_proxies="router.example")
