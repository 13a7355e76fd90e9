"""The makers' own clients against the simulator, through the proxy: nothing changes but base URL and key."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import cohere
import httpx
import openai
import pytest
from anthropic.types import MessageParam
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.proxy.fakes import KEY
from tests.proxy.serving import Proxy, proxy, unary
from tests.system import MODEL, Simulator

HELLO: list[MessageParam] = [{"role": "user", "content": "How many tokens is this?"}]
SIZE = 9
"""Tokens of an answer."""


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    running = Simulator(tmp_path_factory.mktemp("sim"), "--model", MODEL)
    yield running
    running.stop()


@pytest.fixture
async def it(simulator: Simulator) -> AsyncIterator[Proxy]:
    async with proxy(unary, upstream=simulator.url) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


def base(it: Proxy, path: str = "") -> str:
    return f"http://127.0.0.1:{it.traffic.port}{path}"


async def metered(it: Proxy, simulator: Simulator, count: int) -> list[Any]:
    """Return the usage of all requests, which must be what the simulator counted."""
    await it.settled(count)
    log = simulator.requests()
    assert len(it.recorder.closes) == count
    for usage in it.recorder.closes:
        entry = log[usage.request_id]
        assert (usage.outcome, usage.accuracy) == ("completed", "exact")
        assert (usage.input_tokens, usage.output_tokens or 0) == (entry["prompt_tokens"], entry["generated_tokens"])
    return it.recorder.closes


async def test_anthropic(it: Proxy, simulator: Simulator) -> None:
    async with anthropic.AsyncAnthropic(base_url=base(it), api_key=KEY.decode(), max_retries=0) as client:
        whole = await client.messages.create(model=MODEL, max_tokens=SIZE, messages=HELLO)
        async with client.messages.stream(model=MODEL, max_tokens=SIZE, messages=HELLO) as stream:
            text = "".join([part async for part in stream.text_stream])
            final = await stream.get_final_message()
        counted = await client.messages.count_tokens(model=MODEL, messages=HELLO)
        with pytest.raises(anthropic.AuthenticationError, match="Incorrect API key"):
            await client.with_options(api_key="wrong").messages.create(model=MODEL, max_tokens=1, messages=HELLO)
        with pytest.raises(anthropic.NotFoundError) as caught:
            await client.messages.create(model="gone", max_tokens=1, messages=HELLO)
    assert caught.value.request_id == it.recorder.decisions[-1].request_id
    assert (final.usage.input_tokens, final.usage.output_tokens) == (whole.usage.input_tokens, SIZE)
    assert text
    assert counted.input_tokens == whole.usage.input_tokens
    await it.settled(3)
    generated = [usage for usage in it.recorder.closes if usage.endpoint == "/v1/messages"]
    assert [(usage.input_tokens, usage.output_tokens) for usage in generated] == [(counted.input_tokens, SIZE)] * 2


async def test_cohere(it: Proxy, simulator: Simulator, http: httpx.AsyncClient) -> None:
    client = cohere.AsyncClientV2(api_key=KEY.decode(), base_url=base(it), httpx_client=http)
    embedded = await client.embed(
        model=MODEL, texts=["one two", "three"], input_type="search_document", embedding_types=["float"]
    )
    assert embedded.embeddings.float_ is not None
    assert len(embedded.embeddings.float_) == 2
    ranked = await client.rerank(model=MODEL, query="which?", documents=["this", "that", "neither"], top_n=2)
    assert len(ranked.results) == 2
    await metered(it, simulator, 2)
    unknown = cohere.AsyncClientV2(api_key="wrong", base_url=base(it), httpx_client=http)
    with pytest.raises(cohere.UnauthorizedError):
        await unknown.rerank(model=MODEL, query="?", documents=["a"])


async def test_cohere_chat(it: Proxy, simulator: Simulator, http: httpx.AsyncClient) -> None:
    client = cohere.AsyncClientV2(api_key=KEY.decode(), base_url=base(it, "/cohere"), httpx_client=http)
    messages: list[cohere.ChatMessageV2] = [cohere.UserChatMessageV2(content="How many tokens is this?")]
    whole = await client.chat(model=MODEL, messages=messages, max_tokens=SIZE)
    assert whole.usage is not None
    assert whole.usage.tokens is not None
    assert whole.usage.tokens.output_tokens == SIZE
    kinds = [part.type async for part in client.chat_stream(model=MODEL, messages=messages, max_tokens=SIZE)]
    assert (kinds[0], kinds[-1]) == ("message-start", "message-end")
    await metered(it, simulator, 2)


def langchain(it: Proxy, key: str, http: httpx.AsyncClient) -> ChatOpenAI:
    return ChatOpenAI(
        model=MODEL,
        base_url=base(it, "/v1"),
        api_key=SecretStr(key),
        max_completion_tokens=SIZE,
        max_retries=0,
        stream_usage=True,
        http_async_client=http,
    )


async def test_langchain(it: Proxy, simulator: Simulator, http: httpx.AsyncClient) -> None:
    model = langchain(it, KEY.decode(), http)
    whole = await model.ainvoke("How many tokens is this?")
    total = AIMessageChunk(content="")
    async for part in model.astream("How many tokens is this?"):
        assert isinstance(part, AIMessageChunk)
        total += part
    assert total.text
    assert total.usage_metadata is not None
    usages = await metered(it, simulator, 2)
    assert [usage.output_tokens for usage in usages] == [SIZE, SIZE]
    assert total.usage_metadata["input_tokens"] == usages[1].input_tokens
    assert total.usage_metadata["output_tokens"] == SIZE
    assert whole.response_metadata["token_usage"]["prompt_tokens"] == usages[0].input_tokens
    with pytest.raises(openai.AuthenticationError):
        await langchain(it, "wrong", http).ainvoke("Hello")
