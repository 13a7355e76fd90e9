"""HTTP/2 by prior knowledge: the same answers and records as in the fast lane."""

import asyncio
import shutil
import subprocess

import httpx
import pytest

from proxy.ports import Principal
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import post
from tests.proxy.serving import ANSWER, BODY, CHAT, SSE, STREAM, chunk, event, proxy, unary
from tests.proxy.slow.h2client import client
from tests.proxy.slow.slowly import END, emptied, slowly
from tests.proxy.upstream import Got, Piece, plain


async def test_a_request() -> None:
    async with proxy(unary) as it:
        async with client(it.traffic.port) as h2:
            answer = await h2.answer(h2.ask(body=BODY))
        assert (answer.status, answer.body, answer.whole) == (200, ANSWER, True)
        assert answer.fields[b"x-request-id"] == b"req_000001"
        usage = await it.settled()
        assert (usage.tenant, usage.input_tokens, usage.output_tokens) == ("ten_search", 3, 2)
        assert (usage.outcome, usage.accuracy, usage.client_address) == ("completed", "exact", "127.0.0.1")
        assert KEY not in it.raw.got[0].head
        assert b"authorization: Bearer key-of-vllm" in it.raw.got[0].head
        await emptied(it)


async def test_vllm_gets_and_the_client_gets_what_they_get_over_http_1() -> None:
    """Byte for byte: the request's lines and body, the answer's fields and body."""

    def answer(got: Got) -> list[Piece]:
        if b'"stream":true' not in got.body:
            return [plain(ANSWER, b"x-extra: 1")]
        return [SSE, event(1), event(2, b"\xc3\xa4"), *END]

    async with proxy(answer) as it, client(it.traffic.port) as h2:
        for body in (BODY, STREAM, b'{"model":"tiny","stream":true,"stream_options":{"include_usage":true}}'):
            one = await it.ask(post(CHAT, body, b"X-Kept: 1", b"X-Data-Parallel-Rank: 3"))
            two = await h2.answer(h2.ask(CHAT.encode(), body, (b"x-kept", b"1"), (b"x-data-parallel-rank", b"3")))
            assert two.body == one.body
            first, second = it.raw.got[-2:]
            assert second.body == first.body
            ours = {line.lower().split(b"x-request-id")[0] for line in first.head.split(b"\r\n")}
            assert {line.lower().split(b"x-request-id")[0] for line in second.head.split(b"\r\n")} == ours
            assert b"usage" not in two.body or b"include_usage" in body or body == BODY
            expected = {name.lower() for name, _ in one.headers} - {b"transfer-encoding"}
            assert set(two.fields) == expected
        closes = it.recorder.closes
        assert [usage.output_tokens for usage in closes] == [2, 2, 2, 2, 2, 2]
        assert [usage.response_bytes for usage in closes[::2]] == [usage.response_bytes for usage in closes[1::2]]


async def test_many_streams_at_once() -> None:
    def answer(_got: Got) -> list[Piece]:
        return [SSE, event(1), 0.05, event(2), 0.05, *END]

    async with proxy(answer) as it, client(it.traffic.port) as h2:
        numbers = [h2.ask(body=STREAM) for _ in range(50)]
        answers = [await h2.answer(number) for number in numbers]
        assert all(each.whole and each.body.endswith(b"[DONE]\n\n") for each in answers)
        assert {usage.output_tokens for usage in it.recorder.closes} == {2}
        assert len(it.recorder.closes) == 50


async def test_a_stream_comes_piece_by_piece() -> None:
    async with proxy(slowly) as it, client(it.traffic.port) as h2:
        number = h2.ask(body=STREAM)
        first = await h2.got(number, 1)
        assert not h2.streams[number].ended.is_set()
        assert await h2.got(number, len(first) + 500) != first


async def test_head_and_free_paths() -> None:
    async with (
        proxy(lambda _got: [b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"]) as it,
        client(it.traffic.port) as h2,
    ):
        answer = await h2.answer(h2.ask(b"/health", method=b"HEAD", key=None))
        assert (answer.status, answer.body, answer.fields[b"content-length"]) == (200, b"", b"12")
        assert not it.recorder.decisions


@pytest.mark.parametrize(
    "answer",
    [
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", plain(ANSWER)],
        [b"HTTP/1.1 100 Continue\r\n\r\n", plain(ANSWER)],
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n",
            chunk(ANSWER),
            b"0\r\nX-T: 1\r\n\r\n",
        ],
        [b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER, None],
    ],
    ids=["early hints", "continue", "trailers", "until the end"],
)
async def test_framings(answer: list[Piece]) -> None:
    async with proxy(lambda _got: answer) as it, client(it.traffic.port) as h2:
        received = await h2.answer(h2.ask(CHAT.encode(), BODY, (b"expect", b"100-continue")))
        assert (received.status, received.body, received.whole) == (200, ANSWER, True)
        assert not received.fields.keys() & {b"transfer-encoding", b"trailer", b"link", b"connection"}
        assert b"expect" not in it.raw.got[0].head.lower()
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, usage.output_tokens) == ("completed", "exact", 2)


async def test_a_preflight() -> None:
    allowed = plain(b"OK", b"access-control-allow-origin: *")
    wants = ((b"origin", b"https://page.example"), (b"access-control-request-method", b"POST"))
    async with proxy(lambda _got: [allowed]) as it, client(it.traffic.port) as h2:
        answer = await h2.answer(h2.ask(CHAT.encode(), None, *wants, method=b"OPTIONS", key=None))
        assert (answer.status, answer.body, answer.fields[b"access-control-allow-origin"]) == (200, b"OK", b"*")
        answer = await h2.answer(h2.ask(CHAT.encode(), BODY, wants[0], key=None))
        assert (answer.status, answer.fields[b"access-control-allow-origin"]) == (401, b"*")
        assert [decision.status for decision in it.recorder.decisions] == [401]


async def test_keys_that_must_be_looked_up() -> None:
    async with proxy(unary) as it, client(it.traffic.port) as h2:
        it.directory.distant[b"far"] = Principal(KEY_RECORD, {})
        assert (await h2.answer(h2.ask(body=BODY, key=b"far"))).status == 200
        assert (await h2.answer(h2.ask(body=BODY, key=b"wrong"))).status == 401


async def test_long_streams_are_recorded_on_the_way() -> None:
    async with proxy(slowly, progress_interval=0.1) as it, client(it.traffic.port) as h2:
        h2.ask(body=STREAM)
        async with asyncio.timeout(120):
            while len(it.recorder.progress) < 2:
                await asyncio.sleep(0.01)
        first, second = (draft.output_tokens for draft in it.recorder.progress[:2])
        assert first is not None
        assert second is not None
        assert 0 < first < second


async def test_httpx() -> None:
    async with (
        proxy(unary) as it,
        httpx.AsyncClient(http1=False, http2=True, base_url=f"http://127.0.0.1:{it.traffic.port}") as client_of_httpx,
    ):
        headers = {"authorization": f"Bearer {KEY.decode()}"}
        answer = await client_of_httpx.post(CHAT, content=BODY, headers=headers)
        assert (answer.status_code, answer.content, answer.http_version) == (200, ANSWER, "HTTP/2")


async def test_curl() -> None:
    curl = shutil.which("curl")
    assert curl is not None, "these tests need curl"
    async with proxy(unary) as it:
        url = f"http://127.0.0.1:{it.traffic.port}{CHAT}"
        words = [curl, "-sS", "--http2-prior-knowledge", "-w", "%{http_version}", "-d", BODY.decode(), url]
        done = await asyncio.to_thread(
            subprocess.run, [*words, "-H", f"Authorization: Bearer {KEY.decode()}"], capture_output=True, check=True
        )
        assert done.stdout == ANSWER + b"2"
