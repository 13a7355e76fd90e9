"""Responses, messages, tokens, batches and invocations: what is billed is what the engine counted, and the bytes are vLLM's."""

import asyncio
import random
import re
from typing import Any

import aiohttp
import httpx
import msgspec
import pytest

from tests.vllm.test_usage import growth, settled_usage

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

CHAT = [{"role": "user", "content": "How many tokens does this cost?"}]
FIXED: dict[str, Any] = {"model": "tiny", "seed": 7}
SAMPLING = {"max_tokens": 8, "seed": 7, "ignore_eos": True}
SEEDED: dict[str, tuple[str, dict[str, Any]]] = {
    "responses": ("/v1/responses", FIXED | {"input": "How many?", "max_output_tokens": 9}),
    "batch": ("/v1/chat/completions/batch", FIXED | {"messages": [CHAT, CHAT], "max_tokens": 9}),
    "generate": ("/inference/v1/generate", {"model": "tiny", "token_ids": [5, 6, 7], "sampling_params": SAMPLING}),
    "invocations": ("/invocations", FIXED | {"messages": CHAT, "max_tokens": 9}),
}
STREAMS = ("responses", "generate", "invocations")
_OWN = re.compile(rb'"(?:id|request_id|item_id)":"[^"]*"|"created(?:_at)?":\d+')


def ask(base: str, key: str, path: str, body: dict[str, Any]) -> bytes:
    answer = httpx.post(base + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return _OWN.sub(b"", answer.content)


@pytest.mark.parametrize(
    ("path", "body"),
    [*SEEDED.values(), *[(SEEDED[name][0], SEEDED[name][1] | {"stream": True}) for name in STREAMS]],
)
def test_bytes_are_vllms(vllm, system, path, body):
    """vLLM may put two tokens into one event when it is busy, so a difference must show every time."""
    for _ in range(5):
        direct = ask(vllm.url, vllm.key, path, body)
        proxied = ask(system.endpoints["proxy"], system.endpoints["demo_key"], path, body)
        if direct == proxied:
            return
    assert proxied.decode() == direct.decode()


def bodies(rng: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """Return requests of every kind, each with its own length; one choice each, as the engine counts a prompt for each."""
    words = "word " * rng.randint(1, 80)
    asked, size = [{"role": "user", "content": words}], rng.randint(1, 40)
    stream = {"model": "tiny", "stream": rng.random() < 0.6}
    sampling = {"max_tokens": size, "ignore_eos": True}
    return [
        ("/v1/responses", stream | {"input": words, "max_output_tokens": size}),
        ("/v1/messages", stream | {"messages": asked, "max_tokens": size}),
        ("/v1/chat/completions/batch", {"model": "tiny", "messages": [asked, CHAT], "max_tokens": size}),
        ("/inference/v1/generate", stream | {"token_ids": [rng.randint(5, 600)] * size, "sampling_params": sampling}),
        ("/invocations", stream | {"messages": asked, "max_tokens": size}),
        ("/v1/messages/count_tokens", {"model": "tiny", "messages": asked}),
    ]


def test_usage_equals_the_growth_of_the_engines_counters(vllm, system):
    tenant, key = system.key("Other APIs")
    rng, before = random.Random(5), vllm.counters()
    requests = [one for _ in range(12) for one in bodies(rng)]

    async def send() -> None:
        places = asyncio.Semaphore(6)
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:

            async def one(path: str, body: dict[str, Any]) -> None:
                async with places, session.post(system.endpoints["proxy"] + path, json=body) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()

            await asyncio.gather(*[one(*request) for request in requests])

    asyncio.run(send())
    figures, counted = settled_usage(system, tenant, len(requests)), growth(vllm, before)
    assert (figures["input_tokens"], figures["output_tokens"]) == (counted["prompt"], counted["generation"])


def test_a_response_is_kept_for_its_tenant_alone(vllm, system):
    address = system.endpoints["proxy"] + "/v1/responses"
    (_, ours), (_, theirs) = system.key("Ours"), system.key("Theirs")
    mine, other = {"authorization": f"Bearer {ours}"}, {"authorization": f"Bearer {theirs}"}
    body = {"model": "tiny", "input": "Hello", "max_output_tokens": 4}
    made = httpx.post(address, json=body, headers=mine, timeout=60).json()
    again = httpx.get(f"{address}/{made['id']}", headers=mine, timeout=60)
    assert msgspec.json.decode(again.content)["usage"] == made["usage"]
    assert httpx.get(f"{address}/{made['id']}", headers=other, timeout=60).status_code == 404
    follow = body | {"previous_response_id": made["id"]}
    assert httpx.post(address, json=follow, headers=other, timeout=60).status_code == 404
    longer = httpx.post(address, json=follow, headers=mine, timeout=60).json()
    assert longer["usage"]["input_tokens"] > made["usage"]["input_tokens"]
