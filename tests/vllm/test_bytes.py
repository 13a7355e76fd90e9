"""What a client gets through the proxy is what vLLM would have sent it: byte for byte, but for ids and times."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import openai
import pytest

from tests.recordings import events, load

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

RECORDED = [
    *(
        "chat_unary",
        "chat_unary_n3",
        "chat_unary_logprobs",
        "chat_unary_json_schema",
        "chat_unary_max_completion_tokens",
    ),
    *("chat_stream_plain", "chat_stream_include_usage", "chat_stream_include_usage_false"),
    *("chat_stream_continuous_usage", "chat_stream_logprobs"),
    *("completion_unary", "completion_unary_n2", "completion_unary_echo_logprobs", "completion_unary_token_ids"),
    *("completion_stream_plain", "completion_stream_include_usage"),
    *("error_bad_temperature", "error_context_length", "error_stream_options_without_stream", "error_missing_messages"),
]
CHAT = {
    "model": "tiny",
    "max_tokens": 9,
    "seed": 7,
    "ignore_eos": True,
    "messages": [{"role": "user", "content": "How much is a token? €"}],
}
PROMPTS = {key: value for key, value in CHAT.items() if key != "messages"} | {"prompt": ["A toll is paid", "per token"]}
USAGE = {"include_usage": True, "continuous_usage_stats": True}
SEVERAL = {
    "chat_n2_plain": ("/v1/chat/completions", CHAT | {"n": 2, "stream": True}),
    "chat_n2_usage": (
        "/v1/chat/completions",
        CHAT | {"n": 2, "stream": True, "stream_options": {"include_usage": True}},
    ),
    "chat_n2_continuous": ("/v1/chat/completions", CHAT | {"n": 2, "stream": True, "stream_options": USAGE}),
    "chat_continuous_without_usage": (
        "/v1/chat/completions",
        CHAT | {"stream": True, "stream_options": {"continuous_usage_stats": True}},
    ),
    "completion_prompts": ("/v1/completions", PROMPTS | {"n": 2}),
    "completion_prompts_plain": ("/v1/completions", PROMPTS | {"n": 2, "stream": True}),
    "completion_prompts_continuous": ("/v1/completions", PROMPTS | {"n": 2, "stream": True, "stream_options": USAGE}),
    "completion_stop": ("/v1/completions", PROMPTS | {"max_tokens": 40, "stop": ["e"], "stream": True}),
}


@dataclass(frozen=True)
class Exchange:
    """What came back: status, the type of content, the body with ids and times blanked."""

    status: int
    content_type: str | None
    body: bytes

    def by_choice(self) -> dict[bytes, list[bytes]]:
        """Return the events of each choice in order: vLLM interleaves several choices as they come."""
        found: dict[bytes, list[bytes]] = {}
        for event in events(self.body):
            choice = re.search(rb'"index":(\d+)', event)
            found.setdefault(choice[1] if choice else b"", []).append(event)
        return found


def ask(base: str, key: str, path: str, body: bytes) -> Exchange:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    answer = httpx.post(base + path, content=body, headers=headers, timeout=60)
    blanked = re.sub(rb'"id":"(chatcmpl|cmpl)-[^"]+"', rb'"id":"\1-"', answer.content)
    blanked = re.sub(rb'"created":\d+', b'"created":0', blanked)
    blanked = re.sub(rb"<dict of \d+ items>", b"<dict of items>", blanked)
    return Exchange(answer.status_code, answer.headers.get("content-type"), blanked)


def compare(vllm, system, path: str, body: bytes, ordered: bool) -> None:
    """Ask both. vLLM may put two tokens into one event when it is busy, so a difference must show every time.

    One difference is meant: where a field is missing, vLLM says how many fields it got, and the proxy adds one (`cache_salt`).
    """
    for _ in range(5):
        direct = ask(vllm.url, vllm.key, path, body)
        proxied = ask(system.endpoints["proxy"], system.endpoints["demo_key"], path, body)
        assert (proxied.status, proxied.content_type) == (direct.status, direct.content_type)
        if direct.body == proxied.body or (not ordered and direct.by_choice() == proxied.by_choice()):
            return
    assert proxied.body.decode() == direct.body.decode()


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_requests_get_vllms_bytes(vllm, system, name):
    recording = load(name)
    body = recording.request_body
    if recording.status == 200 and b'"seed"' not in body:  # left to chance, no two answers are the same
        body = body.replace(b"{", b'{"seed": 7, ', 1)
    compare(vllm, system, recording.path, body, ordered=True)


@pytest.mark.parametrize("name", SEVERAL)
def test_streams_of_several_choices_get_vllms_bytes(vllm, system, name):
    path, body = SEVERAL[name]
    compare(vllm, system, path, msgspec.json.encode(body), ordered=False)


def test_each_answer_is_metered_under_its_own_id(system):
    headers = {"authorization": f"Bearer {system.endpoints['demo_key']}", "x-request-id": "mine"}
    answers = [
        httpx.post(f"{system.endpoints['proxy']}/v1/chat/completions", json=CHAT, headers=headers, timeout=60)
        for _ in range(2)
    ]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2
    assert len({answer.json()["id"] for answer in answers}) == 2


async def talk(client: openai.AsyncOpenAI) -> list[object]:
    """What an application does; it knows nothing of a proxy."""
    messages = [{"role": "user", "content": "How many tokens does this cost?"}]
    wishes: dict[str, Any] = {"model": "tiny", "messages": messages, "max_tokens": 12, "seed": 3}
    whole = await client.chat.completions.create(**wishes)
    stream = await client.chat.completions.create(**wishes, stream=True)
    said = [chunk.choices[0].delta.content async for chunk in stream]
    counted = await client.chat.completions.create(**wishes, stream=True, stream_options={"include_usage": True})
    last = [chunk async for chunk in counted][-1]
    text = await client.completions.create(model="tiny", prompt="One two", max_tokens=5, seed=3)
    assert text.usage
    models = [model.id async for model in client.models.list()]
    return [
        *(whole.choices[0].message.content, whole.usage.model_dump(), "".join(piece or "" for piece in said)),
        *(last.usage.model_dump(), text.choices[0].text, text.usage.model_dump(), models),
    ]


def test_the_openai_sdk_needs_only_another_address_and_key(vllm, system):
    async def both() -> tuple[list[object], list[object]]:
        proxy = openai.AsyncOpenAI(base_url=f"{system.endpoints['proxy']}/v1", api_key=system.endpoints["demo_key"])
        async with openai.AsyncOpenAI(base_url=f"{vllm.url}/v1", api_key=vllm.key) as direct, proxy:
            return await talk(direct), await talk(proxy)

    direct, proxied = asyncio.run(both())
    assert proxied == direct


def test_the_engines_key_opens_nothing_at_the_proxy(vllm, system):
    answer = ask(system.endpoints["proxy"], vllm.key, "/v1/chat/completions", msgspec.json.encode(CHAT))
    assert answer.status == 401
