"""Large bodies that pass in pieces: real vLLM reads them as it reads whole ones, and begins nothing before their end."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from tests.proxy.memory import post
from tests.proxy.serving import CHAT, proxy, unary

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


def chat(model: str, *last: bytes) -> bytes:
    """Return a chat of few tokens and 3 MB: templates do not print names."""
    asked = b'{"role":"user","name":"' + b"A" * 3_000_000 + b'","content":"How many tokens does this cost?"}'
    return (
        b'{"messages":['
        + asked
        + b'],"max_tokens":9,"seed":7,'
        + b",".join([b'"model":"%b"' % model.encode(), *last])
        + b"}"
    )


async def test_tokens_are_those_of_a_whole_body(vllm: Any) -> None:
    headers = {"authorization": f"Bearer {vllm.key}", "content-type": "application/json"}
    async with httpx.AsyncClient(timeout=120) as client:
        direct = await client.post(vllm.url + CHAT, content=chat("tiny"), headers=headers)
    like = direct.json()["usage"]
    async with proxy(unary, listed=False, held_body=50_000, upstream=vllm.url, upstream_api_key=vllm.key) as it:
        before = await asyncio.to_thread(vllm.counters)
        answer = await it.ask(post(CHAT, chat("tiny", b'"cache_salt":"mine"')))
        assert (answer.status, msgspec.json.decode(answer.body)["usage"]["prompt_tokens"]) == (
            200,
            like["prompt_tokens"],
        )
        usage = await it.settled()
        assert (usage.input_tokens, usage.output_tokens) == (like["prompt_tokens"], like["completion_tokens"])
        streamed = await it.ask(post(CHAT, chat("tiny", b'"stream":true')))
        assert streamed.body.endswith(b"data: [DONE]\n\n")
        assert (await it.settled(2)).input_tokens == like["prompt_tokens"]
        for refused in (chat("tiny", b'"n":0'), chat("tiny", b'"model":"tiny"'), chat("tiny")[:-1] + b",}"):
            assert (await it.ask(post(CHAT, refused))).status == 400
        after = await asyncio.to_thread(vllm.counters)
    assert after["prompt"] - before["prompt"] == 2 * like["prompt_tokens"]
    assert after["generation"] - before["generation"] == sum(usage.output_tokens or 0 for usage in it.recorder.closes)
