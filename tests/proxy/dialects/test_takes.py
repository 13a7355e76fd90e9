"""How many tokens a request may take, of every API: never fewer than it has."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects import table
from proxy.dialects.base import Asked, BadRequestError, Call, Dialect
from proxy.dialects.takes import Size, measure, rewritten

SALT = "5a17"


def call(path: str, body: dict[str, Any]) -> tuple[Dialect, Call]:
    found = table.find(path.encode())
    assert found is not None
    assert found[0].dialect is not None
    made = found[0].dialect.read(Asked(msgspec.json.encode(body), SALT))
    return made.by or found[0].dialect, made


def size(path: str, body: dict[str, Any], passed: int = 0) -> Size:
    dialect, made = call(path, body)
    return measure(dialect.takes, made, passed)


CHAT = "/v1/chat/completions"
TEXT = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        (CHAT, {"messages": TEXT}, None),
        (CHAT, {"messages": TEXT, "max_tokens": 7}, 7),
        (CHAT, {"messages": TEXT, "max_tokens": 7, "max_completion_tokens": 9}, 9),
        (CHAT, {"messages": TEXT, "max_tokens": None, "max_completion_tokens": None}, None),
        (CHAT, {"messages": TEXT, "max_tokens": -4}, 0),
        ("/v1/chat/completions/batch", {"messages": [TEXT], "max_tokens": 7}, 7),
        ("/v1/completions", {"prompt": "a"}, 16),
        ("/v1/completions", {"prompt": "a", "max_tokens": None}, None),
        ("/v1/completions", {"prompt": "a", "max_tokens": 7}, 7),
        ("/v1/responses", {"input": "a", "max_output_tokens": 7}, 7),
        ("/v1/responses", {"input": "a", "max_tokens": 7}, None),
        ("/v1/messages", {"messages": TEXT, "max_tokens": 7}, 7),
        ("/v1/messages", {"messages": TEXT}, 0),
        ("/cohere/v2/chat", {"messages": TEXT, "max_tokens": 7}, 7),
        ("/cohere/v2/chat", {"messages": TEXT}, None),
        ("/inference/v1/generate", {"token_ids": [1], "sampling_params": {}}, 16),
        ("/inference/v1/generate", {"token_ids": [1], "sampling_params": {"max_tokens": 7}}, 7),
        ("/inference/v1/generate", {"token_ids": [1], "sampling_params": {"max_tokens": None}}, None),
        ("/invocations", {"messages": TEXT, "max_tokens": 7}, 7),
        ("/invocations", {"prompt": "a"}, 16),
        ("/v1/embeddings", {"input": "a"}, None),
        ("/tokenize", {"prompt": "a"}, None),
    ],
)
def test_what_a_client_asks_for(path: str, body: dict[str, Any], asked: int | None) -> None:
    assert size(path, body).asked == asked


def test_what_is_no_number_is_refused() -> None:
    for wrong in ("9", 9.5, True, [9]):
        with pytest.raises(BadRequestError, match="max_tokens"):
            size(CHAT, {"messages": TEXT, "max_tokens": wrong})


@given(st.text(max_size=200), st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_text_has_no_more_tokens_than_bytes(text: str, texts: list[str]) -> None:
    """A token of a tokenizer of bytes stands for at least one; JSON takes as many bytes as the text, escaped or not."""
    for path, body, inputs in (
        (CHAT, {"messages": [{"role": "user", "content": text}]}, [text]),
        ("/v1/completions", {"prompt": [text, *texts]}, [text, *texts]),
        ("/v1/embeddings", {"input": [text, *texts]}, [text, *texts]),
        ("/v1/responses", {"input": text}, [text]),
        ("/rerank", {"query": text, "documents": texts}, [text + each for each in texts]),
        ("/score", {"text_1": text, "text_2": texts}, [text + each for each in texts]),
        ("/score", {"text_1": [text], "text_2": texts}, [text + each for each in texts]),
        ("/score", {"queries": texts, "documents": texts}, [each + each for each in texts]),
        ("/generative_scoring", {"query": text, "items": texts}, [text + each for each in texts]),
        ("/v1/systemone", {"state": text, "questions": dict.fromkeys("abc", text)}, [text * 2] * 3),
    ):
        assert size(path, body).text >= sum(len(each.encode()) for each in inputs), path


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=50), st.integers(0, 3))
def test_token_ids_are_counted(ids: list[int], more: int) -> None:
    for path, body, count in (
        ("/v1/completions", {"prompt": ids}, len(ids)),
        ("/v1/completions", {"prompt": [ids] * (more + 1)}, len(ids) * (more + 1)),
        ("/v1/embeddings", {"input": ids}, len(ids)),
        ("/v1/embeddings", {"input": [ids] * (more + 1)}, len(ids) * (more + 1)),
        ("/inference/v1/generate", {"token_ids": ids, "sampling_params": {}}, len(ids)),
    ):
        found = size(path, body)
        assert found.ids == count
        assert found.text < 250, "digits are no text"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        {"image_url": "https://x"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://x"}},
        {"type": "image_embeds", "image_embeds": "AAAA"},
        {"type": "prompt_embeds", "data": "AAAA"},
        {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
    ],
)
def test_media_may_be_as_long_as_the_context(part: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "what?"}, part]}]
    for path in (CHAT, "/v1/messages", "/pooling", "/invocations"):
        found = size(path, {"messages": messages, "max_tokens": 1})
        assert found.opaque
        assert found.media >= 1
    assert not size(CHAT, {"messages": TEXT}).opaque


def test_a_name_that_is_hidden_by_escapes_is_found() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":[{"type":"image\\u005furl","image\\u005furl":{"url":"x"}}]}]}'
    dialect, _ = call(CHAT, {})
    assert measure(dialect.takes, dialect.read(Asked(body, SALT)), 0).opaque
    assert not size(CHAT, {"messages": [{"role": "user", "content": "é 漢 \N{GRINNING FACE}"}]}).opaque, (
        "others are not"
    )


def test_pictures_are_no_text() -> None:
    picture = "data:image/png;base64," + "A" * 100_000
    parts = [{"type": "image_url", "image_url": {"url": picture}}] * 2
    assert size(CHAT, {"messages": [{"role": "user", "content": parts}]}).text < 1000


def test_what_vllm_remembers_or_has_already_is_not_in_the_body() -> None:
    assert not size("/v1/responses", {"input": "a"}).opaque
    dialect, made = call("/v1/responses", {"input": "a"})
    made.body = made.body[:-1] + b',"previous_response_id":"resp_1"}'
    assert measure(dialect.takes, made, 0).opaque
    found = size(CHAT, {"messages": [""]}, passed=40_000_000)
    assert found.opaque
    assert found.text > 40_000_000


@given(st.one_of(st.none(), st.integers(1, 100)), st.one_of(st.none(), st.integers(1, 100)), st.integers(1, 100))
def test_no_answer_is_longer_than_the_cap_that_is_written(old: int | None, new: int | None, cap: int) -> None:
    given = {"max_tokens": old, "max_completion_tokens": new}
    for path, names, within in (
        (CHAT, ("max_completion_tokens", "max_tokens"), ""),
        ("/v1/completions", ("max_tokens",), ""),
        ("/v1/responses", ("max_output_tokens",), ""),
        ("/inference/v1/generate", ("max_tokens",), "sampling_params"),
    ):
        asked = {name: given["max_tokens" if name == "max_output_tokens" else name] for name in names}
        asked = {name: value for name, value in asked.items() if value is not None or name == "max_tokens"}
        body: dict[str, Any] = {"model": "tiny", "messages": TEXT, "token_ids": [1], "sampling_params": {"seed": 1}}
        (body["sampling_params"] if within else body).update(asked)
        dialect, made = call(path, body)
        sent = msgspec.json.decode(rewritten(dialect.takes, made.body, cap, None))
        assert sent["model"] == "tiny"
        found = sent[within] if within else sent
        known = [found[name] for name in names if found.get(name) is not None]
        assert known
        assert max(known) <= cap
        for name, value in asked.items():
            if value is not None:
                assert found[name] == min(value, cap)
        made.body = rewritten(dialect.takes, made.body, cap, "other")
        assert msgspec.json.decode(made.body)["model"] == "other"
        asked_now = measure(dialect.takes, made, 0).asked
        assert asked_now is not None
        assert asked_now <= cap


def test_every_dialect_says_what_it_takes() -> None:
    for route in table.ROUTES:
        if route.dialect is not None:
            assert route.dialect.takes is not None
