"""One request from the socket to the invoice; then two thousand, counted at both ends."""

import time
from datetime import timedelta

import httpx
import pytest
import redis

from contracts.clock import utc_now
from tests.system import MODEL, Simulator, System, send

pytestmark = pytest.mark.timeout(400)


def chat(system: System, key: str, **changes) -> httpx.Response:
    body = {
        "model": MODEL,
        "max_tokens": 7,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": "How much?"}],
        **changes,
    }
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{system.endpoints['proxy']}/v1/chat/completions", json=body, headers=headers, timeout=120)


def eventually(question, expected, seconds=120):
    deadline = time.monotonic() + seconds
    while (answer := question()) != expected:
        assert time.monotonic() < deadline, f"still {answer}, not {expected}"
        time.sleep(0.3)


def test_a_request_becomes_usage_and_a_price(system):
    tenant, key = system.key("End to end")
    unary = chat(system, key)
    assert unary.status_code == 200
    usage = unary.json()["usage"]
    assert usage["completion_tokens"] == 7
    streamed = chat(system, key, stream=True)
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert '"usage"' not in streamed.text

    now = utc_now()
    period = {
        "from": f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        "to": f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
    }
    with system.api() as api:

        def figures():
            answer = api.get(
                "/v1/usage", params={**period, "bucket": "day", "time_zone": "UTC", "tenant": tenant}
            ).raise_for_status()
            rows = answer.json()["data"]
            return tuple(sum(row[meter] for row in rows) for meter in ("requests", "input_tokens", "output_tokens"))

        eventually(figures, (2, 2 * usage["prompt_tokens"], 14))
        book = {
            "name": "test",
            "currency": "EUR",
            "effective_from": f"{now - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
            "tenant": tenant,
            "prices": [
                {"model": "*", "meter": "input_tokens", "pricing": "flat", "per": 1000, "price": "0.10"},
                {"model": MODEL, "meter": "output_tokens", "pricing": "flat", "per": 1000, "price": "0.25"},
            ],
        }
        api.post("/v1/price-books", json=book).raise_for_status()
        preview = api.post("/v1/invoices/preview", json={"tenant": tenant, **period}).raise_for_status().json()
    amounts = {line["meter"]: (line["quantity"], line["precise_amount"]) for line in preview["lines"]}
    assert int(amounts["output_tokens"][0]) == 14
    assert amounts["output_tokens"][1] == "0.0035"
    assert int(amounts["input_tokens"][0]) == 2 * usage["prompt_tokens"]


def test_the_day_so_far_is_in_redis(system):
    tenant, key = system.key("Quota feedback")
    chat(system, key)
    day = utc_now().date().isoformat()
    with redis.Redis.from_url(system.endpoints["redis"], decode_responses=True) as store:
        eventually(lambda: store.hget(f"wb:{{{tenant}}}:usage:day:{day}", "output_tokens"), "7")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"headers": {}}, 401, "invalid_api_key"),
        ({"headers": {"authorization": "Bearer wb_live_wrong"}}, 401, "invalid_api_key"),
        ({"content": b"{broken"}, 400, "invalid_json"),
        ({"content": b'{"model": "no-such-model", "messages": []}'}, 404, "model_not_found"),
        ({"url": "/v1/nothing"}, 404, "unknown_endpoint"),
    ],
)
def test_bad_input_is_refused_in_openais_shape(system, changes, status, code):
    _, key = system.key("Bad input")
    request = {
        "url": "/v1/chat/completions",
        "content": b"{}",
        "headers": {"authorization": f"Bearer {key}"},
        **changes,
    }
    answer = httpx.post(system.endpoints["proxy"] + request.pop("url"), **request)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]


async def test_two_thousand_requests_agree_with_the_simulators_own_count(system: System, simulator: Simulator):
    keys = [system.key(f"Load {number}")[1] for number in range(4)]
    before = simulator.requests().keys()
    traffic = await send(system.endpoints["proxy"], keys, requests=2000, concurrency=8, cut_share=0.1)
    assert (traffic.failed, traffic.errors) == (0, {})
    assert 100 < len(traffic.cut) < 300
    sent = traffic.answered | traffic.cut
    events = system.wait_for_ledger(sent)
    generated = {name: entry for name, entry in simulator.requests().items() if name not in before}
    assert generated.keys() == sent
    for name, entry in generated.items():
        counted = (events[name]["input_tokens"], events[name]["output_tokens"], events[name]["accuracy"])
        assert counted == (entry["prompt_tokens"], entry["generated_tokens"], "exact"), events[name]


def test_a_revoked_key_is_refused_within_a_second_of_the_answer(system):
    """Ten keys in use, each revoked: a second after the API's answer none gets through any more."""
    keys = [system.key(f"Revoked {number}") for number in range(10)]
    with system.api() as api:
        for tenant, secret in keys:
            assert chat(system, secret).status_code == 200
            (key,) = api.get("/v1/keys", params={"tenant": tenant}).raise_for_status().json()["data"]
            api.post(f"/v1/keys/{key['id']}/revoke").raise_for_status()
            time.sleep(1)
            refused = chat(system, secret)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
