"""Pages of other origins: what vLLM lets their browser read, it may read of the proxy too."""

import msgspec
import pytest

from proxy.browsers import MAX_ORIGINS, Origins
from tests.proxy.memory import Bench, Response, get, post, responses

ORIGIN = b"https://page.example"
FROM = b"Origin: " + ORIGIN
WANTS = (FROM, b"Access-Control-Request-Method: POST", b"Access-Control-Request-Headers: authorization,content-type")
ALL = b"access-control-allow-origin: *\r\n"
NAMED = b"access-control-allow-origin: %b\r\naccess-control-allow-credentials: true\r\nvary: Origin\r\n" % ORIGIN
CHAT = "/v1/chat/completions"


def options(path: str, *fields: bytes) -> bytes:
    return get(path, *fields, key=None).replace(b"GET", b"OPTIONS", 1)


def vllm(fields: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%bcontent-length: 2\r\n\r\nOK" % (status, fields)


def received(bench: Bench, method: str = "POST") -> Response:
    (response,) = responses(bench.client.take(), method=method)
    return response


def refused(bench: Bench, *fields: bytes) -> Response:
    """Return the answer to a request without a key."""
    bench.send(post(CHAT, b"{}", *fields, key=None))
    response = received(bench)
    assert response.status == 401
    return response


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/models", "/opened"])
def test_a_preflight_is_vllms_to_answer(path: str) -> None:
    bench = Bench(free_paths=("/opened",))
    bench.send(options(path, *WANTS))
    went_up = bench.upstream.take()
    assert went_up.startswith(b"OPTIONS %b HTTP/1.1\r\n" % path.encode())
    assert all(field in went_up for field in WANTS)
    bench.answer(vllm(NAMED + b"access-control-allow-headers: authorization,content-type\r\n"))
    response = received(bench, "OPTIONS")
    assert (response.status, response.body) == (200, b"OK")
    assert response.header("access-control-allow-origin") == ORIGIN.decode()
    assert response.header("access-control-allow-headers") == "authorization,content-type"
    assert not bench.recorder.decisions


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (CHAT, (), 405),
        (CHAT, WANTS[:1], 405),
        (CHAT, WANTS[1:], 405),
        ("/metrics", WANTS, 404),
        ("/nothing", WANTS, 404),
    ],
)
def test_other_options_are_refused(path: str, fields: tuple[bytes, ...], status: int) -> None:
    bench = Bench()
    bench.send(options(path, *fields))
    assert received(bench, "OPTIONS").status == status
    assert not bench.upstream.written
    assert [decision.status for decision in bench.recorder.decisions] == [status]


def test_errors_can_be_read_where_vllm_would_let_them_be() -> None:
    bench = Bench()
    assert refused(bench, FROM).header("access-control-allow-origin") is None, "vLLM has allowed nothing yet"
    bench.send(options(CHAT, *WANTS))
    bench.answer(vllm(NAMED))
    bench.client.take()
    response = refused(bench, FROM)
    assert msgspec.json.decode(response.body)["error"]["code"] == "invalid_api_key"
    assert response.header("access-control-allow-origin") == ORIGIN.decode()
    assert response.header("access-control-allow-credentials") == "true"
    assert response.header("vary") == "Origin"
    for other in ((), (b"Origin: https://other.example",)):
        assert refused(bench, *other).header("access-control-allow-origin") is None


def test_what_vllm_allows_to_all_is_for_all() -> None:
    bench = Bench()
    bench.send(get("/version", FROM))
    bench.answer(vllm(ALL))
    bench.client.take()
    response = refused(bench, b"Origin: https://other.example")
    assert response.header("access-control-allow-origin") == "*"
    assert response.header("vary") is None
    assert refused(bench).header("access-control-allow-origin") is None, "no browser asked"


def test_an_answer_in_vllms_place_can_be_read_too() -> None:
    bench = Bench()
    bench.send(post(CHAT, b'{"model":"tiny","messages":[]}', FROM))
    bench.answer(vllm(ALL, b"400 Bad Request"))
    assert received(bench).status == 400
    bench.send(post(CHAT, b'{"model":"tiny","messages":[]}', FROM))
    bench.answer(b"nonsense\r\n\r\n")
    response = received(bench)
    assert (response.status, response.header("access-control-allow-origin")) == (502, "*")


@pytest.mark.parametrize("before", [ALL, NAMED])
def test_what_vllm_allows_no_longer_is_forgotten(before: bytes) -> None:
    bench = Bench()
    for answer, allowed in ((before, True), (b"vary: Origin\r\n", False)):
        bench.send(get("/version", FROM))
        bench.answer(vllm(answer))
        bench.client.take()
        assert (refused(bench, FROM).header("access-control-allow-origin") is not None) is allowed


def test_an_error_of_vllm_without_a_word_takes_nothing_back() -> None:
    bench = Bench()
    for answer in (vllm(ALL), vllm(b"", b"503 Service Unavailable")):
        bench.send(get("/version", FROM))
        bench.answer(answer)
        bench.client.take()
    assert refused(bench, FROM).header("access-control-allow-origin") == "*"


def test_few_origins_are_kept() -> None:
    origins = Origins()
    names = [b"https://%d.example" % number for number in range(MAX_ORIGINS + 10)]
    for name in [*names, b"https://" + b"x" * 300]:
        origins.learn(name, 200, {b"access-control-allow-origin": name})
    assert [bool(origins.fields(name)) for name in names] == [False] * 10 + [True] * MAX_ORIGINS
    assert not origins.fields(b"https://" + b"x" * 300)
