"""Large bodies through the served fast lane: passed on as they come, decided about at their end."""

import asyncio
import contextlib
import functools
from pathlib import Path

import msgspec
import pytest

from contracts.projection import KeyRecord
from proxy.config import Timeouts
from proxy.ports import Principal, Refusal
from tests.proxy.fakes import KEY, KEY_RECORD
from tests.proxy.memory import post, responses
from tests.proxy.serving import ANSWER, BODY, CHAT, SSE, Proxy, chunk, event, proxy, unary
from tests.proxy.streamed.upstreams import Taking, in_front_of
from tests.proxy.upstream import Got, Piece, plain

HELD = 50_000
streaming = functools.partial(proxy, held_body=HELD)
BEGIN = b'{"model":"tiny","messages":[{"role":"user","content":"'
END = b'"}]}'


def chat(size: int, *last: bytes) -> bytes:
    """Return a chat with a picture of that many bytes; `last` are the members after it."""
    picture = b'{"type":"image_url","uuid":"mine","image_url":{"url":"' + b"A" * size + b'"}}'
    return b'{"messages":[{"role":"user","content":[' + picture + b"]}]," + b",".join([b'"model":"tiny"', *last]) + b"}"


def head(length: int, *fields: bytes, path: str = CHAT, key: bytes = KEY) -> bytes:
    """Return the head of a request whose body will have that length."""
    framing = b"Content-Length: %d" % length
    lines = [b"POST %b HTTP/1.1" % path.encode(), b"Host: llm", b"Authorization: Bearer " + key, framing, *fields]
    return b"\r\n".join([*lines, b"Content-Type: application/json", b"", b""])


async def settle(it: Proxy) -> None:
    """Wait until the proxy has nothing on its way."""
    async with asyncio.timeout(20):
        while it.traffic._lane.shares._bytes or it.traffic._lane.pool._own.keys() - it.traffic._lane.pool._idle.keys():
            await asyncio.sleep(0.01)


async def test_it_is_rewritten_and_metered_as_one_that_is_held() -> None:
    body = chat(500_000, b'"cache_salt":"mine"', b'"priority":-5', b'"n":2', b'"user":"me"')
    async with streaming(unary) as it:
        answer = await it.ask(post(CHAT, body))
        assert (answer.status, answer.body) == (200, ANSWER)
        usage = await it.settled()
        await settle(it)
    async with proxy(unary) as held:
        assert (await held.ask(post(CHAT, body))).status == 200
        like = await held.settled()
    assert b"transfer-encoding: chunked" in it.raw.got[0].head
    assert b"content-length" not in it.raw.got[0].head
    sent, same = (msgspec.json.decode(each.raw.got[0].body) for each in (it, held))
    assert sent == same
    assert b"uuid" not in it.raw.got[0].body
    assert (usage.choices, usage.input_tokens, usage.outcome, usage.model) == (2, 3, "completed", "tiny")
    assert (usage.request_bytes, usage.end_user) == (like.request_bytes, like.end_user)
    assert it.recorder.decisions[0].end_user == "me"
    assert b"x-request-id: " + usage.request_id.encode() in it.raw.got[0].head


async def test_a_stream_asked_for_behind_the_large_part() -> None:
    """Usage is asked for and taken out again."""
    done = chunk(b"data: [DONE]\n\n")

    def answer(got: Got) -> list[Piece]:
        assert msgspec.json.decode(got.body)["stream_options"]["include_usage"] is True
        return [SSE, event(1), event(2), done, b"0\r\n\r\n"]

    async with streaming(answer) as it:
        response = await it.ask(post(CHAT, chat(200_000, b'"stream":true')))
        assert b"usage" not in response.body
        usage = await it.settled()
        assert (usage.stream, usage.output_tokens, usage.accuracy) == (True, 2, "exact")


async def test_in_chunks_of_unknown_length() -> None:
    body = chat(300_000)
    pieces = b"".join(chunk(body[at : at + 7000]) for at in range(0, len(body), 7000)) + b"0\r\n\r\n"
    async with streaming(unary) as it:
        request = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + pieces
        assert (await it.ask(request)).status == 200
        assert b"chunked" in it.raw.got[0].head
        assert len(msgspec.json.decode(it.raw.got[0].body)["messages"][0]["content"][0]["image_url"]["url"]) == 300_000


async def test_requests_before_and_after_on_one_connection() -> None:
    async with streaming(unary) as it:
        reader, writer = await it.connect()
        writer.write(post(CHAT, BODY) + post(CHAT, chat(200_000)) + post(CHAT, BODY) + post(CHAT, chat(200_000)))
        received = b""
        async with asyncio.timeout(20):
            while received.count(ANSWER) < 4:
                received += await reader.read(65_536)
        assert [one.status for one in responses(received)] == [200] * 4
        assert [b"chunked" in got.head for got in it.raw.got] == [False, True, False, True]
        assert len(it.recorder.closes) == 4
        writer.close()


async def test_a_form_with_a_large_file() -> None:
    fields = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    sound = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    late = fields % (b"model", b"tiny") + fields % (b"vllm_xargs", b"{}") + b"--b--\r\n"
    body = fields % (b"language", b"en") + sound + b"RIFF" * 100_000 + b"\r\n" + late
    answer = plain(b'{"text":"x","usage":{"type":"duration","seconds":7}}')
    path = "/v1/audio/transcriptions"
    request = head(len(body), path=path).replace(b"application/json", b"multipart/form-data; boundary=b") + body
    async with streaming(lambda _got: [answer]) as it, proxy(lambda _got: [answer]) as held:
        assert [(await each.ask(request)).status for each in (it, held)] == [200, 200]
        assert (await it.settled()).audio_seconds == 7
        sent, same = (sorted(each.raw.got[0].body.split(b"--b")) for each in (it, held))
        assert sent == same
        assert b"vllm_xargs" not in it.raw.got[0].body


async def test_memory_stays_flat() -> None:
    """200 MB go through; a server that takes nothing makes the client wait."""
    goes_on = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await goes_on.wait()
        await vllm.take(reader)
        writer.write(plain(ANSWER))

    vllm = Taking(slowly)
    async with in_front_of(vllm) as it:
        reader, writer = await it.connect()
        piece = b"A" * 1_000_000
        writer.write(head(200_000_000 + len(BEGIN + END)) + BEGIN)
        sent, before = 0, _resident()
        with contextlib.suppress(TimeoutError):
            while sent < 200:
                writer.write(piece)
                sent += 1
                await asyncio.wait_for(writer.drain(), 3)
        assert sent < 50
        goes_on.set()
        most = 0
        for _ in range(200 - sent):
            await writer.drain()
            writer.write(piece)
            most = max(most, _resident())
        writer.write(END)
        response = responses(await reader.read(65_536))[0]
        assert (response.status, response.body) == (200, ANSWER)
        assert vllm.taken > 200_000_000
        assert most - before < 30_000_000
        assert (await it.settled()).request_bytes > 200_000_000
        writer.close()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_who_may_not_send_is_told_at_once() -> None:
    """Nothing is sent to vLLM, and nothing need be sent to us."""
    vllm = Taking()
    async with in_front_of(vllm, held_body=HELD) as it:
        reader, writer = await it.connect()
        writer.write(head(10_000_000, b"Expect: 100-continue", key=b"wrong"))
        assert responses(await reader.read(65_536), closed=True)[0].status == 401
        assert (await it.ask(head(10_000_000, path="/v1/systemone"))).status == 413
        assert (await it.ask(head(10_000_000, path="/health"))).status == 405
        assert (await it.ask(head(10_000_000, path="/ping"))).status == 413
        assert (await it.ask(head(2 << 30))).status == 413
        assert vllm.heads == []
        assert [one.decision for one in it.recorder.decisions] == ["denied"] * 5
        writer.close()


async def test_who_expects_is_asked_to_go_on() -> None:
    async with streaming(unary) as it:
        reader, writer = await it.connect()
        body = chat(200_000)
        writer.write(head(len(body), b"Expect: 100-continue"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert responses(await reader.read(65_536))[0].status == 200
        assert b"xpect" not in it.raw.got[0].head
        writer.close()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (chat(200_000)[:-1] + b" x}", 400),
        (chat(200_000, b'"model":"tiny"'), 400),
        (chat(200_000, b'"mod\\u0065l":"tiny"'), 400),
        (chat(200_000, b'"n":"many"'), 400),
        (chat(200_000, b'"tools":"' + b"x" * 60_000 + b'"'), 413),
        (chat(200_000).replace(b'"tiny"', b'"other"'), 403),
    ],
)
async def test_what_is_refused_never_ends_for_vllm(body: bytes, status: int) -> None:
    vllm = Taking()
    async with in_front_of(vllm, held_body=HELD) as it:
        it.directory.known[KEY] = Principal(_only_tiny(), {})
        assert (await it.ask(post(CHAT, body))).status == status
        async with asyncio.timeout(10):
            await vllm.gone.wait()
        await settle(it)
        assert not vllm.ended.is_set()
        (decision,) = it.recorder.decisions
        assert (decision.decision, decision.status, decision.tenant) == ("denied", status, "ten_search")
        assert it.recorder.closes == []


def _only_tiny() -> KeyRecord:
    return msgspec.structs.replace(KEY_RECORD, models=("tiny",))


async def test_keys_are_looked_up_and_the_connection_lives_on_after_a_refusal_at_the_end() -> None:
    async with streaming(unary) as it:
        it.directory.distant[b"far"] = Principal(KEY_RECORD, {})
        reader, writer = await it.connect()
        wrong = chat(200_000).replace(b'"tiny"', b'"none"')
        writer.write(post(CHAT, wrong, key=b"far") + post(CHAT, chat(200_000), key=b"far"))
        received = b""
        async with asyncio.timeout(20):
            while ANSWER not in received:
                received += await reader.read(65_536)
        assert [one.status for one in responses(received)] == [404, 200]
        writer.close()


@pytest.mark.parametrize("framing", [b"Content-Length: 900000", b"Transfer-Encoding: chunked"])
async def test_the_largest_body_has_a_limit(framing: bytes) -> None:
    vllm = Taking()
    async with in_front_of(vllm, held_body=HELD, max_body=800_000) as it:
        pieces = chunk(BEGIN) + chunk(b"A" * 100_000) * 12
        request = head(0).replace(b"Content-Length: 0", framing) + (pieces if b"chunked" in framing else b"")
        answer = await it.ask(request)
        assert (answer.status, b"800000" in answer.body) == (413, True)
        assert not vllm.ended.is_set()


async def test_broken_chunks() -> None:
    vllm = Taking()
    async with in_front_of(vllm, held_body=HELD) as it:
        request = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        answer = await it.ask(request + chunk(BEGIN) + chunk(b"A" * 100_000) + b"nonsense\r\n")
        assert answer.status == 400
        assert not vllm.ended.is_set()


async def test_vllm_answers_before_the_end() -> None:
    """Its answer passes; the request counts as one that was turned down."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await vllm.take(reader, 300_000)
        writer.write(plain(b'{"error":"too large"}', b"x-b: 1", status=b"413 Payload Too Large"))
        await vllm.take(reader)

    vllm = Taking(refuse)
    async with in_front_of(vllm, held_body=HELD) as it:
        answer = await it.ask(head(900_000) + BEGIN + b"A" * 500_000)
        assert (answer.status, answer.body, answer.header("x-b")) == (413, b'{"error":"too large"}', "1")
        assert answer.header("connection") == "close"
        (decision,) = it.recorder.decisions
        assert (decision.decision, decision.status, decision.code) == ("denied", 413, "upstream_error")
        assert not it.traffic._lane.pool._idle  # vLLM still waits for the rest of the body there
        await settle(it)
        assert it.recorder.closes == []


async def test_an_answer_that_cannot_be_is_not_believed() -> None:
    async def hurry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await vllm.take(reader, 100_000)
        writer.write(plain(ANSWER))
        await vllm.take(reader)

    vllm = Taking(hurry)
    async with in_front_of(vllm, held_body=HELD) as it:
        answer = await it.ask(head(900_000) + BEGIN + b"A" * 500_000)
        assert (answer.status, b"upstream_error" in answer.body) == (502, True)


async def test_vllm_dies() -> None:
    async def die(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await vllm.take(reader, 100_000)

    vllm = Taking(die)
    async with in_front_of(vllm, held_body=HELD) as it:
        answer = await it.ask(head(9_000_000) + BEGIN + b"A" * 8_000_000)
        assert (answer.status, b"upstream_unreachable" in answer.body) == (502, True)
        assert len(vllm.heads) == 1  # what was passed on is not sent again
        await settle(it)


async def test_vllm_dies_after_the_end() -> None:
    """It may have begun to work: nobody knows what was used."""

    async def die(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await vllm.take(reader)

    vllm = Taking(die)
    async with in_front_of(vllm, held_body=HELD) as it:
        assert (await it.ask(post(CHAT, chat(200_000)))).status == 502
        usage = await it.settled()
        assert (usage.outcome, usage.accuracy, len(vllm.heads)) == ("upstream_error", "unknown", 1)


@pytest.mark.parametrize("framing", [b"Content-Length: 900000", b"Transfer-Encoding: chunked"])
async def test_a_client_that_leaves_half_way_leaves_nothing(framing: bytes) -> None:
    vllm = Taking()
    async with in_front_of(vllm, held_body=HELD) as it:
        _, writer = await it.connect()
        wrap = chunk if b"chunked" in framing else bytes
        writer.write(head(0).replace(b"Content-Length: 0", framing) + wrap(BEGIN) + wrap(b"A" * 300_000))
        async with asyncio.timeout(10):
            while vllm.taken < 300_000:
                await asyncio.sleep(0.01)
            writer.close()
            await vllm.gone.wait()
        await settle(it)
        assert not vllm.ended.is_set()
        assert (it.recorder.decisions, it.recorder.closes, it.clients) == ([], [], 0)


async def test_what_does_not_go_on_is_ended() -> None:
    """A client that stops sending, and a vLLM that stops taking."""

    async def take_no_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    times = Timeouts(client_idle=0.5, idle=0.5)
    async with in_front_of(Taking(), held_body=HELD, timeouts=times) as it:
        answer = await it.ask(head(900_000) + BEGIN)
        assert (answer.status, b"does not go on" in answer.body) == (400, True)
    async with in_front_of(Taking(take_no_more), held_body=HELD, timeouts=times) as it:
        answer = await it.ask(head(90_000_000) + BEGIN + b"A" * 80_000_000)
        assert (answer.status, b"upstream_timeout" in answer.body) == (504, True)


async def test_vllm_is_down() -> None:
    async with streaming(unary, listed=False, upstream="http://127.0.0.1:1") as it:
        assert (await it.ask(post(CHAT, chat(200_000)))).status == 502
        assert it.recorder.decisions[0].code == "upstream_unreachable"


async def test_a_tenants_uploads_share_a_bound() -> None:
    """Four times the largest body may be on its way; what goes over is refused, and what ended does not count."""
    vllm = Taking()
    vllm.answer = plain(ANSWER)
    async with in_front_of(vllm, held_body=HELD, max_body=100_000) as it:
        waiting = []
        for _ in range(4):
            _, writer = await it.connect()
            writer.write(head(99_000) + BEGIN + b"A" * 98_000)
            waiting.append(writer)
        async with asyncio.timeout(10):
            while vllm.taken < 4 * 98_000:
                await asyncio.sleep(0.01)
        answer = await it.ask(head(99_000) + BEGIN + b"A" * 98_000)
        assert (answer.status, b"concurrency_limit_exceeded" in answer.body) == (429, True)
        for writer in waiting:
            writer.close()
        await settle(it)
        assert (await it.ask(post(CHAT, chat(98_000)))).status == 200


async def test_a_full_spool_refuses_at_the_end() -> None:
    vllm = Taking()
    async with in_front_of(vllm, held_body=HELD) as it:
        it.recorder.refusal = Refusal("spool_full", "full")
        assert (await it.ask(post(CHAT, chat(200_000)))).status == 503
        assert not vllm.ended.is_set()


async def test_without_enforcement_anybody_may_send() -> None:
    async with streaming(unary, enforce="shadow") as it:
        assert (await it.ask(post(CHAT, chat(200_000), key=b"wrong"))).status == 200
        assert [one.decision for one in it.recorder.decisions] == ["would_deny"]
        assert (await it.settled()).tenant == "unassigned"


async def test_a_path_without_salt_is_refused_before_vllm_sees_any_of_it() -> None:
    vllm = Taking()
    async with in_front_of(vllm, held_body=HELD, unsalted="deny") as it:
        answer = await it.ask(head(900_000, path="/v2/embed") + b'{"texts":["')
        assert (answer.status, b"WEIGHBRIDGE_UNSALTED" in answer.body) == (403, True)
        assert vllm.taken == 0


async def test_a_drain_cuts_what_does_not_end() -> None:
    vllm = Taking()
    async with in_front_of(vllm, held_body=HELD) as it:
        _, writer = await it.connect()
        writer.write(head(900_000) + BEGIN + b"A" * 300_000)
        async with asyncio.timeout(10):
            while vllm.taken < 300_000:
                await asyncio.sleep(0.01)
            await it.traffic.drain(0.1)
            await vllm.gone.wait()
        assert it.recorder.closes == []
        writer.close()
