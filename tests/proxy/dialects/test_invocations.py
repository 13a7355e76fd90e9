import msgspec
import pytest

from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.dialects.invocations import Invocations
from tests.proxy.memory import Bench, post
from tests.proxy.recorded import load

SALT = "5a17"
ADAPTER = b"x-amzn-sagemaker-adapter-identifier"


def read(body: bytes, adapter: bytes | None = None) -> Call:
    return Invocations().read(Asked(body, SALT, fields={} if adapter is None else {ADAPTER: adapter}))


@pytest.mark.parametrize(
    ("body", "dialect", "inputs"),
    [
        (b'{"messages":[{"role":"user","content":"a"}]}', "chat", 1),
        (b'{"prompt":["a","b"]}', "completions", 2),
        (b'{"prompt_embeds":"a"}', "completions", 1),
        (b'{"input":["a","b","c"]}', "embeddings", 3),
        (b'{"input":["a","b"],"task":"token_embed"}', "pooling", 2),
        (b'{"query":"q","documents":["a","b"]}', "rerank", 2),
        (b'{"queries":"q","documents":["a","b"]}', "score", 2),
        (b'{"text_1":"q","text_2":["a","b"]}', "score", 2),
        (b'{"data_1":"q","data_2":"a"}', "score", 1),
    ],
)
def test_the_shape_says_which_api_it_is(body: bytes, dialect: str, inputs: int) -> None:
    call = read(body)
    assert call.by is not None
    assert (call.by.name, call.inputs) == (dialect, inputs)
    assert msgspec.json.decode(call.body)["cache_salt"] == SALT


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"data":{"x":1}}',
        b'{"input":"a","task":"plugin"}',
        b'{"requestType":"NEW_SESSION"}',
        b'{"messages":[],"prompt":"a"}',
        b'{"query":"a","queries":["b"],"documents":[]}',
    ],
)
def test_what_fits_none_or_several_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        read(body)


def test_an_adapter_in_the_header_is_the_model() -> None:
    call = read(b'{"model":"tiny","prompt":"a"}', b"adapter")
    assert call.model == msgspec.json.decode(call.body)["model"] == "adapter"
    with pytest.raises(BadRequestError):
        read(b'{"prompt":"a"}', b"\xff")


def test_the_header_itself_stays_here() -> None:
    bench, one = Bench(), load("invocations_completion")
    bench.send(post(one.path, one.request, b"X-Amzn-SageMaker-Adapter-Identifier: adapter"))
    assert ADAPTER not in bytes(bench.upstream.written).lower()
    assert b'"model":"adapter"' in bench.upstream.written
    bench.answer(one.wire())
    assert (bench.usage.dialect, bench.usage.endpoint, bench.usage.model) == ("completions", "/invocations", "adapter")
