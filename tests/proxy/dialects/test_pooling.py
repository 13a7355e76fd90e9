"""What pooling models are asked, how much of it there is, and where usage stands in what they answer."""

from typing import Any

import msgspec
import pytest

from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.dialects.embed import Embed
from proxy.dialects.pooling import CLASSIFY, EMBEDDINGS, GENERATIVE_SCORING, POOLING, RERANK, SCORE
from proxy.dialects.systemone import SystemOne
from proxy.dialects.tokenize import DETOKENIZE, TOKENIZE
from proxy.sse import Fingerprint
from proxy.tokens import Count, Tokens
from proxy.unary import KEPT
from tests.proxy.memory import Bench, post, responses

SALTED = [EMBEDDINGS, POOLING, CLASSIFY, SCORE, RERANK, GENERATIVE_SCORING, SystemOne()]
UNSALTED = [Embed(), TOKENIZE, DETOKENIZE]
ALL = SALTED + UNSALTED
TURN = {"role": "user", "content": "a"}


def read(dialect: Any, **members: Any) -> Call:
    call = dialect.read(Asked(msgspec.json.encode({"questions": {}} | members), "salt"))
    assert isinstance(call, Call)
    return call


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_members_that_no_client_may_set_are_taken_out(dialect: Any) -> None:
    given = {"model": "m", "priority": -9, "cache_salt": "theirs", "kv_transfer_params": {}, "vllm_xargs": {}, "x": [1]}
    sent = msgspec.json.decode(read(dialect, **given).body)
    assert sent.pop("cache_salt", None) == ("salt" if dialect in SALTED else None)
    assert sent == {"questions": {}, "model": "m", "x": [1]}


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/jsonx", b"application/json ;x=y"])
def test_what_vllm_does_not_read_is_refused(dialect: Any, kind: bytes) -> None:
    with pytest.raises(BadRequestError, match="application/json") as caught:
        dialect.read(Asked(b'{"questions":{}}', "salt", kind))
    assert caught.value.code == "unsupported_media_type"
    assert dialect.read(Asked(b'{"questions":{}}', "salt", b"Application/JSON; charset=utf-8"))


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"model":1,"questions":{}}', b'{"model":"a","model":"b"}', b'{"x":\xff}']
)
def test_unreadable_requests_are_refused(dialect: Any, body: bytes) -> None:
    with pytest.raises(BadRequestError):
        dialect.read(Asked(body, "salt"))


@pytest.mark.parametrize(
    ("dialect", "members", "count"),
    [
        (EMBEDDINGS, {"input": "a"}, 1),
        (EMBEDDINGS, {"input": ["a", "b"]}, 2),
        (EMBEDDINGS, {"input": [1, 2, 3]}, 1),
        (EMBEDDINGS, {"input": [[1, 2], [3], [4]]}, 3),
        (EMBEDDINGS, {"input": [TURN, TURN]}, 1),
        (EMBEDDINGS, {"input": [[TURN], [TURN, TURN]]}, 2),
        (EMBEDDINGS, {"messages": [TURN, TURN]}, 1),
        (EMBEDDINGS, {"messages": [[TURN], [TURN]]}, 2),
        (EMBEDDINGS, {"input": []}, 1),
        (EMBEDDINGS, {"input": None}, 1),
        (EMBEDDINGS, {}, 1),
        (POOLING, {"input": ["a", "b"]}, 2),
        (CLASSIFY, {"input": ["a", "b"]}, 2),
        (SCORE, {"text_1": "q", "text_2": ["a", "b"]}, 2),
        (SCORE, {"queries": ["p", "q"], "documents": ["a", "b"]}, 2),
        (SCORE, {"queries": {"content": []}, "items": "b"}, 1),
        (SCORE, {"data_1": ["p"], "data_2": ["a", "b", "c"]}, 3),
        (RERANK, {"query": "q", "documents": ["a", "b", "c"], "top_n": 1}, 3),
        (RERANK, {"query": "q", "documents": "a"}, 1),
        (GENERATIVE_SCORING, {"query": [1, 2], "items": [[1], [2]], "label_token_ids": [1, 2, 3]}, 2),
        (Embed(), {"texts": ["a", "b"]}, 2),
        (Embed(), {"images": ["data:1", "data:2", "data:3"]}, 3),
        (Embed(), {"inputs": [{"content": []}]}, 1),
        (SystemOne(), {"questions": {"a": {}, "b": {}}}, 2),
    ],
)
def test_inputs_are_counted(dialect: Any, members: dict[str, Any], count: int) -> None:
    call = read(dialect, model="m", **members)
    assert (call.inputs, call.model, call.stream, call.free) == (count, "m", False, False)


@pytest.mark.parametrize("dialect", [EMBEDDINGS, POOLING, CLASSIFY, SCORE, RERANK], ids=lambda dialect: dialect.name)
def test_the_end_user_is_known(dialect: Any) -> None:
    assert read(dialect, user="u-1").end_user == "u-1"
    assert read(dialect, user=None).end_user is None


@pytest.mark.parametrize("members", [{"data": {"image": "x"}}, {"input": "a", "task": "plugin"}, {"data": None}])
def test_plugins_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError, match="report no usage"):
        read(POOLING, **members)


def watched(dialect: Any, body: bytes, size: int = 1 << 16) -> Count | None:
    watcher = dialect.watch(read(dialect), False, Fingerprint())
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        assert watcher.feed(piece, start + size >= len(body)) == piece
    count = watcher.count()
    assert count is None or isinstance(count, Count)
    return count


FORGED = {"usage": {"prompt_tokens": 0, "total_tokens": 0}}


@pytest.mark.parametrize("length", [1, KEPT // 8, KEPT])
def test_a_client_cannot_forge_usage_in_what_an_answer_repeats(length: int) -> None:
    """Whole and scanned: neither text that looks like usage nor a part of a document with that name counts."""
    documents = [{"text": None, "multi_modal": [FORGED]}, {"text": msgspec.json.encode(FORGED).decode()}] * (
        length // 64
    )
    results = [{"index": 0, "document": document, "relevance_score": 0.5} for document in documents]
    answer = {"id": "score-1", "model": "m", "usage": {"prompt_tokens": 25, "total_tokens": 25}, "results": results}
    for size in (1 << 16, 4099):
        count = watched(RERANK, msgspec.json.encode(answer), size)
        assert count is not None
        assert count.tokens == Tokens(input=25)


@pytest.mark.parametrize("length", [1, KEPT // 8, KEPT])
def test_usage_of_coheres_shape(length: int) -> None:
    units = {"input_tokens": 3, "image_tokens": 4}
    text = msgspec.json.encode({"meta": {"billed_units": {"input_tokens": 0, "image_tokens": 0}}}).decode()
    answer = {
        "id": "embd-1",
        "embeddings": {"float": [[0.25] * 64]},
        "texts": [text] * (length // 32),
        "meta": {"api_version": {"version": "2"}, "billed_units": units},
        "response_type": "embeddings_by_type",
    }
    for size in (1 << 16, 4099):
        count = watched(Embed(), msgspec.json.encode(answer), size)
        assert count is not None
        assert (count.tokens, count.whole) == (Tokens(input=7), True)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"meta":null}', b'{"meta":{"billed_units":{}}}', b"<html>", b'{"usage":null}']
)
@pytest.mark.parametrize("dialect", [*SALTED, Embed()], ids=lambda dialect: dialect.name)
def test_what_is_not_reported_is_not_counted(dialect: Any, body: bytes) -> None:
    assert watched(dialect, body) is None


def test_usage_of_decisions() -> None:
    body = b'{"id":"d","model":"m","answers":{},"usage":{"input_tokens":40,"output_tokens":2},"diagnostics":{}}'
    assert watched(SystemOne(), body) == Count(Tokens(input=40, output=2), whole=True)


METADATA = b'{"id": "embd-1", "model": "tiny", "data": [], "usage": {"prompt_tokens": 6, "total_tokens": 6}}'
BYTES = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n"


def ask(path: str, encoding: str) -> Bench:
    bench = Bench()
    bench.send(post(path, b'{"model":"tiny","input":["a"],"encoding_format":"%b"}' % encoding.encode()))
    return bench


@pytest.mark.parametrize("path", ["/v1/embeddings", "/pooling"])
@pytest.mark.parametrize("encoding", ["bytes", "bytes_only"])
def test_bytes_are_metered_by_their_header(path: str, encoding: str) -> None:
    """vLLM is always asked for the header; who asked for the bytes only does not see it."""
    bench = ask(path, encoding)
    sent = msgspec.json.decode(bytes(bench.upstream.written).partition(b"\r\n\r\n")[2])
    assert sent["encoding_format"] == "bytes"
    bench.answer(BYTES + b"MetaData: " + METADATA + b"\r\n\r\n4\r\n\x00\xff\x01\x02\r\n0\r\n\r\n")
    (response,) = responses(bench.client.take())
    assert response.body == b"\x00\xff\x01\x02"
    assert response.header("metadata") == (METADATA.decode() if encoding == "bytes" else None)
    usage = bench.usage
    assert (usage.input_tokens, usage.output_tokens, usage.accuracy) == (6, None, "exact")
    assert (usage.response_id, usage.served_model, usage.outcome) == ("embd-1", "tiny", "completed")


def test_bytes_are_known_exactly_though_the_client_leaves() -> None:
    bench = ask("/v1/embeddings", "bytes")
    bench.answer(BYTES + b"metadata: " + METADATA + b"\r\n\r\n4\r\n\x00\xff\x01\x02\r\n")
    bench.client.lose()
    bench.upstream.lose(ConnectionResetError())  # not all was read; nothing that could change the count is missing
    assert (bench.usage.outcome, bench.usage.input_tokens, bench.usage.accuracy) == ("client_closed", 6, "exact")


@pytest.mark.parametrize("header", [b"", b"metadata: nonsense\r\n", b'metadata: {"usage": null}\r\n'])
def test_bytes_without_a_header_that_can_be_read_are_unknown(header: bytes) -> None:
    bench = ask("/v1/embeddings", "bytes")
    bench.answer(BYTES + header + b"\r\n0\r\n\r\n")
    assert (bench.usage.input_tokens, bench.usage.accuracy) == (None, "unknown")


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
@pytest.mark.parametrize("ending", ["answered", "left", "refused", "broken", "lost"])
def test_tokenizing_is_recorded_and_uses_nothing_whatever_becomes_of_it(path: str, ending: str) -> None:
    bench = Bench()
    bench.send(post(path, b'{"model":"tiny","prompt":"a","tokens":[1]}'))
    if ending == "answered":
        bench.answer(b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"count":1}')
    elif ending == "refused":
        bench.answer(b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n")
    elif ending == "broken":
        bench.answer(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n")
    elif ending == "left":
        bench.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{")
        bench.client.lose()
        bench.upstream.lose()
    else:
        bench.client.lose()
        bench.upstream.lose()
    usage = bench.usage
    assert (usage.input_tokens, usage.output_tokens, usage.accuracy) == (None, None, "exact")
    assert usage.dialect == path[1:]
    assert [decision.decision for decision in bench.recorder.decisions] == ["admitted"]
