import msgspec
import pytest

from proxy.dialects.base import Asked, BadRequestError, Call
from proxy.dialects.messages import CountTokens, Messages
from proxy.ports import Refusal
from proxy.sse import Fingerprint
from proxy.tokens import Count, Tokens
from tests.proxy.fakes import KEY
from tests.proxy.memory import Bench, post, responses
from tests.proxy.recorded import load

SALT = "5a17"


def read(body: bytes) -> tuple[Call, dict[str, object]]:
    call = Messages().read(Asked(body, SALT))
    return call, msgspec.json.decode(call.body)


def count(usage: bytes) -> Count | None:
    """Return what is counted of a whole answer with this usage."""
    watcher = Messages().watch(read(b"{}")[0], events=False, fingerprint=Fingerprint())
    watcher.feed(b'{"type":"message","usage":' + usage + b"}", last=True)
    return watcher.count()


def test_what_is_read() -> None:
    call, sent = read(b'{"model":"m","stream":true,"metadata":{"user_id":"u"},"vllm_xargs":{},"kv_transfer_params":{}}')
    assert (call.model, call.stream, call.end_user) == ("m", True, "u")
    assert sent == {"model": "m", "stream": True, "metadata": {"user_id": "u"}, "cache_salt": SALT}
    assert read(b'{"metadata":null}')[0].end_user is read(b'{"metadata":{}}')[0].end_user is None


@pytest.mark.parametrize(
    "body", [b'{"metadata":7}', b'{"metadata":{"user_id":7}}', b'{"stream":"yes"}', b'{"model":1}']
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        read(body)


def test_input_holds_what_anthropic_tells_apart() -> None:
    usage = b'{"input_tokens":5,"output_tokens":3,"cache_read_input_tokens":20,"cache_creation_input_tokens":100}'
    assert count(usage) == Count(Tokens(input=125, cached=20, cache_created=100, output=3), whole=True)
    assert count(b'{"input_tokens":5,"output_tokens":3}') == Count(Tokens(input=5, output=3), whole=True)
    read_alone = count(b'{"output_tokens":3,"cache_read_input_tokens":20}')
    assert read_alone == Count(Tokens(cached=20, output=3), whole=True)


def test_the_length_of_a_prompt_is_free() -> None:
    bench, one = Bench(), load("messages_count_tokens")
    bench.send(post(one.path, one.request))
    bench.answer(one.wire())
    (response,) = responses(bench.client.take())
    assert response.body == one.body
    usage = bench.usage
    assert (usage.dialect, usage.input_tokens, usage.accuracy) == (CountTokens.name, None, "exact")


def test_answers_carry_anthropics_header() -> None:
    bench, one = Bench(), load("messages_unary")
    bench.send(post(one.path, one.request, b"x-api-key: " + KEY, key=None))
    bench.answer(one.wire())
    (response,) = responses(bench.client.take())
    assert response.header("request-id") == response.header("x-request-id") == bench.usage.request_id


@pytest.mark.parametrize(
    ("body", "status", "kind"), [(b"{", 400, "invalid_request_error"), (b'{"stream":1}', 400, "invalid_request_error")]
)
def test_refusals_have_anthropics_shape(body: bytes, status: int, kind: str) -> None:
    bench = Bench()
    bench.send(post("/v1/messages", body))
    (response,) = responses(bench.client.take())
    answer = msgspec.json.decode(response.body)
    assert (response.status, answer["type"], answer["error"]["type"]) == (status, "error", kind)
    assert answer["request_id"] == response.header("request-id") == response.header("x-request-id")


def test_what_is_refused_before_it_is_read_has_anthropics_shape() -> None:
    bench = Bench(max_body=1000)
    bench.send(post("/v1/messages", b" " * 1001))
    (response,) = responses(bench.client.take())
    assert (response.status, msgspec.json.decode(response.body)["error"]["type"]) == (413, "request_too_large")


def test_a_full_proxy_is_overloaded_in_anthropics_words() -> None:
    bench = Bench()
    bench.recorder.refusal = Refusal("spool_full", "Later.")
    bench.send(post("/v1/messages", b"{}"))
    (response,) = responses(bench.client.take())
    assert (response.status, msgspec.json.decode(response.body)["error"]["type"]) == (529, "overloaded_error")
    assert response.header("retry-after") == "1"
    assert bench.recorder.decisions[0].status == 529
