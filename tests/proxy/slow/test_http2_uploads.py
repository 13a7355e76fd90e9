"""Large bodies over HTTP/2: passed on as in the fast lane, and windows that open as vLLM takes them."""

import asyncio

import msgspec

from tests.proxy.memory import post
from tests.proxy.serving import ANSWER, BODY, CHAT, Proxy, proxy, unary
from tests.proxy.slow.h2client import Client, client
from tests.proxy.streamed.upstreams import Taking, in_front_of
from tests.proxy.upstream import plain

HELD = 50_000
BEGIN = b'{"model":"tiny","messages":[{"role":"user","content":"'
END = b'"}]}'


async def send(h2: Client, number: int, body: bytes) -> None:
    """Send as fast as windows let us."""
    view = memoryview(body)
    while view:
        size = min(h2.h2.local_flow_control_window(number), h2.h2.max_outbound_frame_size, len(view))
        if size <= 0:
            await asyncio.sleep(0.005)
            continue
        h2.h2.send_data(number, bytes(view[:size]))
        view = view[size:]
        h2.flush()
        await h2.writer.drain()


async def settle(it: Proxy) -> None:
    async with asyncio.timeout(20):
        while it.traffic._lane.shares._bytes or it.traffic._lane.pool._own.keys() - it.traffic._lane.pool._idle.keys():
            await asyncio.sleep(0.01)


async def test_it_becomes_what_it_becomes_over_http_1() -> None:
    body = BEGIN + b"A" * 3_000_000 + END
    async with proxy(unary, held_body=HELD) as it, client(it.traffic.port) as h2:
        for fields in ([(b"content-length", b"%d" % len(body))], []):
            number = h2.ask(CHAT.encode(), None, *fields, end=False)
            async with asyncio.timeout(30):
                await send(h2, number, body)
            h2.h2.end_stream(number)
            h2.flush()
            answer = await h2.answer(number)
            assert (answer.status, answer.body, answer.whole) == (200, ANSWER, True)
        assert (await it.ask(post(CHAT, body))).status == 200
        one, two, three = (msgspec.json.decode(got.body) for got in it.raw.got)
        assert one == two == three
        assert b"chunked" in it.raw.got[0].head
        assert all(0 <= (usage.request_bytes or 0) - len(body) < 1000 for usage in it.recorder.closes)
        (layer, *_) = [each.serving for each in it.traffic._lane.clients if hasattr(each, "serving")]
        assert (layer._uploads, layer._requests, layer._windows._waiting) == ({}, {}, {})


async def test_a_server_that_takes_nothing_makes_the_client_wait_and_nobody_else() -> None:
    goes_on = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(vllm.heads) == 1:
            await goes_on.wait()
        await vllm.take(reader)
        writer.write(plain(ANSWER))

    vllm = Taking(slowly)
    async with in_front_of(vllm, held_body=HELD) as it, client(it.traffic.port) as h2:
        number = h2.ask(CHAT.encode(), None, end=False)
        sending = asyncio.create_task(send(h2, number, BEGIN + b"A" * 60_000_000 + END))
        async with asyncio.timeout(60):
            size, now = -1, 0
            while size != now or not now:
                await asyncio.sleep(0.5)
                layers = [each.serving for each in it.traffic._lane.clients if hasattr(each, "serving")]
                size, now = now, sum(upload.size for layer in layers for upload in layer._uploads.values())
            assert now < 20_000_000  # sockets hold some of it
            other = h2.ask(CHAT.encode(), None, end=False)
            await send(h2, other, BEGIN + b"A" * 200_000 + END)
            h2.h2.end_stream(other)
            h2.flush()
            assert (await h2.answer(other)).status == 200
            assert not sending.done()
            goes_on.set()
            await sending
        h2.h2.end_stream(number)
        h2.flush()
        assert (await h2.answer(number)).status == 200


async def test_what_is_refused_half_way() -> None:
    """The client gets the answer, then the stream is reset: the rest may stay away. The connection lives on."""
    vllm = Taking()
    vllm.answer = plain(ANSWER)
    async with in_front_of(vllm, held_body=HELD, max_body=400_000) as it, client(it.traffic.port) as h2:
        for body, status in ((BEGIN + b"A" * 300_000 + END + b"x", 400), (BEGIN + b"A" * 500_000, 413)):
            number = h2.ask(CHAT.encode(), None, end=False)
            await send(h2, number, body)
            assert (await h2.answer(number)).status == status
        assert (await h2.answer(h2.ask(CHAT.encode(), None, (b"content-length", b"400001"), end=False))).status == 413
        assert (await h2.answer(h2.ask(b"/ping", None, (b"content-length", b"60000"), end=False))).status == 413
        await settle(it)
        assert not vllm.ended.is_set()
        assert [one.status for one in it.recorder.decisions] == [400, 413, 413, 413]
        number = h2.ask(CHAT.encode(), None, end=False)
        await send(h2, number, BEGIN + b"A" * 300_000 + END)
        h2.h2.end_stream(number)
        h2.flush()
        assert (await h2.answer(number)).status == 200


async def test_a_client_that_resets_its_upload() -> None:
    vllm = Taking()
    async with in_front_of(vllm, held_body=HELD) as it, client(it.traffic.port) as h2:
        number = h2.ask(CHAT.encode(), None, end=False)
        await send(h2, number, BEGIN + b"A" * 300_000)
        async with asyncio.timeout(10):
            while vllm.taken < 200_000:
                await asyncio.sleep(0.01)
            h2.h2.reset_stream(number)
            h2.flush()
            await vllm.gone.wait()
        await settle(it)
        assert (it.recorder.decisions, it.recorder.closes) == ([], [])
        (layer,) = [each.serving for each in it.traffic._lane.clients]  # type: ignore[attr-defined]
        assert (layer._uploads, layer._requests, layer._windows._waiting) == ({}, {}, {})


async def test_small_bodies_are_held_as_before() -> None:
    async with proxy(unary, held_body=HELD) as it, client(it.traffic.port) as h2:
        assert (await h2.answer(h2.ask(body=BODY))).status == 200
        assert b"content-length" in it.raw.got[0].head
