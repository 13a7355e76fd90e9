"""No client names media, on any path on which vLLM would believe it."""

import json  # noqa: TID251  # the reference: how vLLM reads a body

import pytest

from proxy.dialects import table
from proxy.dialects.base import Asked, BadRequestError

SALT = "5a17"
NAMED = b'{"type":"image_url","image_url":{"url":"u", "detail" : "low"},"uuid":"logo"}'
PLAIN = b'{"type":"image_url","image_url":{"url":"u", "detail" : "low"}}'
MESSAGE = b'{"role":"user","content":[%b,"text",{"type":"text","text":"\\"uuid\\""}]}'
SHAPES = {
    "/v1/chat/completions": b'{"messages":[%b]}',
    "/v1/chat/completions/batch": b'{"messages":[[%b],[{"role":"user","content":"a"}]]}',
    "/v1/responses": b'{"input":[%b,{"type":"function_call_output","output":[{"type":"input_text","text":"t"}]}]}',
    "/v1/messages": b'{"messages":[{"role":"user","content":[{"type":"tool_result","content":[%b]}]}]}',
    "/invocations": b'{"messages":[%b]}',
    "/v1/embeddings": b'{"messages":[%b]}',
    "/pooling": b'{"messages":[%b]}',
    "/classify": b'{"messages":[%b]}',
    "/score": b'{"queries":"q","documents":[%b]}',
    "/v1/score": b'{"data_1":%b,"data_2":"d"}',
    "/rerank": b'{"query":%b,"documents":["d"]}',
    "/generative_scoring": b'{"query":"q","items":[%b]}',
    "/tokenize": b'{"messages":[%b]}',
}
ESCAPED = [b'"\\u0075uid"', b'"u\\u0075id"', b'"uu\\u0069d"', b'"uui\\u0064"', b'"\\u0075\\u0075\\u0069\\u0064"']


def sent(path: str, body: bytes) -> bytes:
    found = table.find(path.encode())
    assert found is not None
    assert found[0].dialect is not None
    return found[0].dialect.read(Asked(body, SALT)).body


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("key", [b'"uuid"', *ESCAPED])
def test_names_are_taken_out(path: str, key: bytes) -> None:
    named = SHAPES[path] % (MESSAGE % NAMED.replace(b'"uuid"', key))
    out = sent(path, named)
    expected = json.loads(SHAPES[path] % (MESSAGE % PLAIN))
    assert {name: json.loads(out)[name] for name in expected} == expected
    assert PLAIN in out, "what is not a name keeps its bytes"


@pytest.mark.parametrize("path", SHAPES)
def test_without_a_name_nothing_is_touched(path: str) -> None:
    body = SHAPES[path] % (MESSAGE % PLAIN)
    member = body[body.index(b":") + 1 : -1].split(b',"', 1)[0][:40]
    assert member in sent(path, body)


def test_the_last_of_two_is_what_vllm_would_read() -> None:
    twice = b'{"messages":[{"role":"user","content":"x","content":[{"uuid":null,"text":"t","uuid":"logo"}]}]}'
    assert json.loads(sent("/v1/chat/completions", twice))["messages"] == [{"role": "user", "content": [{"text": "t"}]}]


def test_what_tools_are_given_is_theirs() -> None:
    """A tool may have a parameter of that name, and be called with it."""
    tools = (
        b'"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"uuid":{"format":"uuid"}}}}}]'
    )
    assert tools in sent("/v1/chat/completions", b'{"messages":[{"role":"user","content":"x"}],' + tools + b"}")
    used = b'{"type":"tool_use","id":"1","name":"f","input":{"uuid":"7"}}'
    assert used in sent("/v1/messages", b'{"messages":[{"role":"assistant","content":[' + used + b"]}]}")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/score"])
def test_parts_that_lie_too_deep_are_refused(path: str) -> None:
    deep = b'{"content":[' * 500 + NAMED + b"]}" * 500
    member = b"documents" if path == "/score" else b"messages"
    with pytest.raises(BadRequestError):
        sent(path, b'{"' + member + b'":[' + deep + b"]}")


def test_a_member_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(BadRequestError):
        sent("/v1/chat/completions", b'{"messages":[{"\\ud800":1,"content":[{"uuid":"x"}]}]}')
