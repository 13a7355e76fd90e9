"""What is refused over HTTP/2: in our shape, without reading on, and without a body where HEAD asked."""

from typing import Any

import msgspec
import pytest

from proxy.ports import Principal
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.serving import BODY, CHAT, proxy, unary
from tests.proxy.slow.h2client import client


async def test_refusals_have_our_shape() -> None:
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"body": BODY, "key": None}, 401, "invalid_api_key"),
        ({"body": BODY, "path": b"/v1/unknown"}, 404, "unknown_endpoint"),
        ({"path": b"/v1/chat/completions", "method": b"GET"}, 405, "method_not_allowed"),
        ({"body": b"{", "path": b"/v1/chat/completions"}, 400, "invalid_json"),
        ({"body": BODY, "path": b"/v1/chat completions"}, 400, "invalid_request"),
        ({"body": BODY, "path": b"/v1/chat\r\nx: y"}, 400, "invalid_request"),
        ({"body": BODY, "path": b"*"}, 400, "invalid_request"),
        ({"path": b"/v1/realtime", "method": b"WEBSOCKET"}, 400, "invalid_request"),
        ({"path": b"/v1/realtime", "method": b"GET"}, 405, "method_not_allowed"),
    ]
    async with proxy(unary) as it, client(it.traffic.port) as h2:
        for request, status, code in cases:
            answer = await h2.answer(h2.ask(**request))
            assert (answer.status, msgspec.json.decode(answer.body)["error"]["code"]) == (status, code), request
            assert int(answer.fields[b"content-length"]) == len(answer.body)
        for field in (
            (b"x-a", b"1\r\nx-b: 2"),
            (b"x-a", b"1\nx"),
            (b"x-a", b"\x00"),
            (b"x a", b"1"),
            (b"x-api-key:", b""),
        ):
            answer = await h2.answer(h2.ask(CHAT.encode(), BODY, field))
            assert answer.status == 400, field
        twice = await h2.answer(h2.ask(CHAT.encode(), BODY, (b"authorization", b"Bearer other")))
        assert twice.status == 400
        assert (await h2.answer(h2.ask(CHAT.encode(), BODY, (b"x-big", b"x" * 70_000)))).status == 431
        assert not it.raw.got
        assert {decision.decision for decision in it.recorder.decisions} == {"denied"}
        assert len(it.recorder.decisions) == len(cases) + 7


async def test_a_body_that_is_too_large_is_not_read_to_its_end() -> None:
    async with proxy(unary, max_body=50_000) as it, client(it.traffic.port) as h2:
        answer = await h2.answer(h2.ask(CHAT.encode(), None, (b"content-length", b"50001"), end=False))
        assert answer.status == 413
        number = h2.ask(end=False)
        for _ in range(4):
            h2.h2.send_data(number, b"x" * 15_000)
        h2.flush()
        answer = await h2.answer(number)
        assert (answer.status, answer.whole) == (413, True)
        assert (await h2.answer(h2.ask(body=BODY))).status == 200
        (layer,) = [each.serving for each in it.traffic._lane.clients]  # type: ignore[attr-defined]
        assert (layer._uploads, layer._requests, layer._http.streams) == ({}, {}, {})


async def test_uploads_share_a_limit() -> None:
    """Four times the largest body may be under way; what goes over is refused, the rest is served."""
    async with proxy(unary, max_body=10_000) as it, client(it.traffic.port) as h2:
        padded = BODY[:-1] + b" " * 9_000 + b"}"
        numbers = [h2.ask(end=False) for _ in range(5)]
        for number in numbers:
            h2.h2.send_data(number, padded)
            h2.flush()
        assert (await h2.answer(numbers[4])).status == 413
        for number in numbers[:4]:
            h2.h2.end_stream(number)
        h2.flush()
        assert [(await h2.answer(number)).status for number in numbers[:4]] == [200] * 4


@pytest.mark.parametrize(
    ("path", "key", "fields", "status"),
    [
        (b"/v1/models", b"wrong", (), 401),
        (b"/nothing", KEY, (), 404),
        (b"/v1/chat/completions", KEY, (), 405),
        (b"/version", KEY, ((b"x", b"y" * 70_000),), 431),
        (b"/v1/models", b"of few models", (), 200),
    ],
)
async def test_an_answer_of_ours_to_head_has_no_body(
    path: bytes, key: bytes, fields: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    async with proxy(unary) as it, client(it.traffic.port) as h2:
        few = msgspec.structs.replace(KEY_RECORD, models=("tiny",))
        it.directory.known[b"of few models"] = Principal(few, {})
        answer = await h2.answer(h2.ask(path, None, *fields, method=b"HEAD", key=key))
        assert (answer.status, answer.body) == (status, b"")
        assert int(answer.fields[b"content-length"]) > 0
        assert answer.fields[b"content-type"] == b"application/json"
