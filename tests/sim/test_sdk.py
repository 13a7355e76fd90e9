"""The official OpenAI SDK against the simulator."""

import openai
import pytest

MESSAGES = [{"role": "user", "content": "How much?"}]


@pytest.fixture
async def client(start):
    sim = await start(sim_api_key="secret")
    async with openai.AsyncOpenAI(base_url=f"{sim.url}/v1", api_key="secret", max_retries=0) as client:
        yield client


async def test_models(client):
    assert [model.id async for model in client.models.list()] == ["tiny"]


async def test_a_whole_chat(client):
    answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=6, n=2)
    assert len(answer.choices) == 2
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


async def test_a_streamed_chat_says_the_same(client):
    whole = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=9, seed=1)
    stream = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=9, seed=1, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


async def test_completions_and_log_probabilities(client):
    answer = await client.completions.create(model="tiny", prompt=["one", "two"], max_tokens=3, logprobs=2, echo=True)
    assert [choice.text[:3] for choice in answer.choices] == ["one", "two"]
    assert len(answer.choices[0].logprobs.tokens) == 1 + len(answer.choices[0].logprobs.top_logprobs) - 1
    chat = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=3, logprobs=True, top_logprobs=2
    )
    assert [len(token.top_logprobs) for token in chat.choices[0].logprobs.content] == [2, 2, 2]


async def test_errors_become_the_sdks_own(client):
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await client.chat.completions.create(model="other", messages=MESSAGES)
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.BadRequestError, match="non-negative"):
        await client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=-1)
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="tiny", messages=MESSAGES, extra_headers={"X-Sim-Fault": "error"})


async def test_a_stream_that_fails_raises(client):
    stream = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, stream=True, extra_headers={"X-Sim-Fault": "break"}
    )
    with pytest.raises(openai.APIError, match="Internal server error"):
        async for _ in stream:
            pass


async def test_responses_whole_and_streamed(client):
    whole = await client.responses.create(model="tiny", input="How much?", max_output_tokens=6)
    assert whole.usage.total_tokens == whole.usage.input_tokens + 6
    stream = await client.responses.create(model="tiny", input="How much?", max_output_tokens=6, stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "".join(event.delta for event in events if hasattr(event, "delta"))
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_embeddings_which_the_sdk_asks_for_in_base64(client):
    answer = await client.embeddings.create(model="tiny", input=["one", "two"])
    assert [len(item.embedding) for item in answer.data] == [128, 128]


async def test_audio(client):
    heard = await client.audio.transcriptions.create(model="tiny", file=("a.mp3", b"\xff\xfb\r\n" * 8000))
    assert heard.text
    assert heard.usage.seconds == 2
