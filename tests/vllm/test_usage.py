"""What is billed is what the engine counted."""

import asyncio
import random
import time
from datetime import timedelta
from decimal import Decimal

import aiohttp
import httpx
import pytest

from contracts.clock import utc_now

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

METERS = ("requests", "input_tokens", "output_tokens")
PRICES = {"input_tokens": "0.10", "output_tokens": "0.25"}


def body(rng: random.Random, stream: bool, n: int = 1) -> dict[str, object]:
    return {
        "model": "tiny",
        "max_tokens": rng.randint(1, 60),
        "ignore_eos": rng.random() < 0.5,
        "n": n,
        "stream": stream,
        "messages": [{"role": "user", "content": "word " * rng.randint(1, 60)}],
    }


def period() -> dict[str, str]:
    now = utc_now()
    return {
        "from": f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        "to": f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
    }


def usage(system, tenant: str) -> dict[str, int]:
    """What the billing API says a tenant used."""
    with system.api() as api:
        query = {**period(), "bucket": "day", "time_zone": "UTC", "tenant": tenant}
        rows = api.get("/v1/usage", params=query).raise_for_status().json()["data"]
    return {meter: sum(row[meter] or 0 for row in rows) for meter in METERS}


def settled_usage(system, tenant: str, requests: int) -> dict[str, int]:
    """Wait until the API knows of so many requests."""
    deadline = time.monotonic() + 90
    while (figures := usage(system, tenant))["requests"] < requests:
        assert time.monotonic() < deadline, f"{figures['requests']} of {requests} requests arrived"
        time.sleep(0.3)
    return figures


async def send(system, key: str, bodies: list[dict[str, object]], path: str = "/v1/chat/completions") -> None:
    """Send all, eight at a time, and read each answer to its end."""
    url, places = system.endpoints["proxy"] + path, asyncio.Semaphore(8)
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:

        async def one(given: dict[str, object]) -> None:
            async with places, session.post(url, json=given) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

        await asyncio.gather(*map(one, bodies))


def growth(vllm, before: dict[str, int]) -> dict[str, int]:
    return {name: value - before[name] for name, value in vllm.counters().items()}


def test_usage_equals_the_growth_of_the_engines_counters_and_has_a_price(vllm, system):
    tenant, key = system.key("Exact")
    rng, before = random.Random(1), vllm.counters()
    chats = [body(rng, stream=number % 2 == 1) for number in range(120)]
    prompts = [
        {"model": "tiny", "prompt": ["one two", "three"], "max_tokens": 7, "stream": number % 2 == 1}
        for number in range(20)
    ]
    asyncio.run(send(system, key, chats))
    asyncio.run(send(system, key, prompts, "/v1/completions"))
    figures, counted = settled_usage(system, tenant, 140), growth(vllm, before)
    assert figures == {
        "requests": 140,
        "input_tokens": counted["prompt"],
        "output_tokens": counted["generation"],
    }
    assert_priced(system, tenant, figures)


def assert_priced(system, tenant: str, figures: dict[str, int]) -> None:
    """The invoice preview multiplies exactly these quantities by the prices."""
    prices = [
        {"model": "*", "meter": meter, "pricing": "flat", "per": 1000, "price": price}
        for meter, price in PRICES.items()
    ]
    book = {"name": "test", "currency": "EUR", "tenant": tenant, "prices": prices}
    book["effective_from"] = f"{utc_now() - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    with system.api() as api:
        api.post("/v1/price-books", json=book).raise_for_status()
        preview = api.post("/v1/invoices/preview", json={"tenant": tenant, **period()}).raise_for_status().json()
    lines = {line["meter"]: line for line in preview["lines"]}
    for meter, price in PRICES.items():
        assert int(lines[meter]["quantity"]) == figures[meter]
        assert Decimal(lines[meter]["precise_amount"]) == figures[meter] * Decimal(price) / 1000
    assert sum(Decimal(line["amount"]) for line in preview["lines"]) == Decimal(preview["subtotal"])


def test_a_prompt_with_several_answers_is_billed_once_though_the_engine_counts_it_for_each(vllm, system):
    """vLLM's `usage` has the prompt once, `vllm:prompt_tokens_total` n times: drift must reckon with it."""
    tenant, key = system.key("Several answers")
    rng, before = random.Random(2), vllm.counters()
    asyncio.run(send(system, key, [body(rng, stream=number % 2 == 1, n=3) for number in range(20)]))
    figures, counted = settled_usage(system, tenant, 20), growth(vllm, before)
    assert figures["output_tokens"] == counted["generation"]
    assert 3 * figures["input_tokens"] == counted["prompt"]


def test_an_answer_that_nobody_waits_for_any_more_is_recorded(vllm, system, record_property):
    """Not streamed, nothing came back yet: no figure can be exact, and the record must say so."""
    tenant, key = system.key("Gone")
    before = vllm.counters()
    url, headers = f"{system.endpoints['proxy']}/v1/chat/completions", {"authorization": f"Bearer {key}"}
    given = {**body(random.Random(4), stream=False), "max_tokens": 1900, "ignore_eos": True}
    for _ in range(5):
        with pytest.raises(httpx.TimeoutException):
            httpx.post(url, json=given, headers=headers, timeout=0.3)
    settled_usage(system, tenant, 5)
    counted = growth(vllm, before)
    columns = "outcome, accuracy, input_tokens, output_tokens, forwarded_at IS NULL"
    rows = system.query(f"SELECT {columns} FROM usage WHERE tenant = '{tenant}'")
    record_property("cut answers", f"engine {counted}, recorded {rows}")
    print(f"\ncut answers: engine {counted}; recorded {rows}")
    assert [row[0] for row in rows] == ["client_closed"] * 5
    for _, accuracy, input_tokens, output_tokens, never_sent in rows:
        assert (accuracy, input_tokens, output_tokens) == ("exact" if never_sent else "unknown", None, None)
    assert counted["generation"] < 5 * 1900
