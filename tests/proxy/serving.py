"""A running traffic side for tests: mitmproxy's Master, real sockets, a raw server in vLLM's place."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from proxy.ports import Limits, Totals
from tests.proxy.fakes import MemoryDirectory, MemoryRecorder
from tests.proxy.memory import Response, config, responses
from tests.proxy.upstream import Answerer, Got, Piece, RawUpstream, plain, upstream

with warnings.catch_warnings():  # mitmproxy imports what imports pyasn1 by names that it deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from proxy.master import Traffic, bind, serve

__all__ = ["ANSWER", "BODY", "CHAT", "SSE", "STREAM", "Proxy", "bind", "chunk", "event", "proxy", "serve", "unary"]

CHAT = "/v1/chat/completions"
BODY = b'{"model":"tiny","messages":[]}'
STREAM = b'{"model":"tiny","stream":true}'
ANSWER = b'{"id":"chatcmpl-1","model":"tiny","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(output: int, text: bytes = b"x") -> bytes:
    usage = b'"usage":{"prompt_tokens":3,"completion_tokens":%d}' % output
    return chunk(b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}],%b}\n\n' % (text, usage))


class Proxy:
    """A running proxy and what stands around it."""

    def __init__(self, raw: RawUpstream) -> None:
        self.raw = raw
        self.recorder = MemoryRecorder()
        self.directory = MemoryDirectory()
        self.registry = CollectorRegistry()
        self.traffic: Traffic
        self.serving: asyncio.Task[None]

    @property
    def clients(self) -> int:
        """How many connections of clients are open."""
        return sum(len(lane.clients) for lane in self.traffic._lanes.all)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.traffic.port)

    async def ask(self, request: bytes) -> Response:
        """Send one request on a connection of its own, and return the whole answer."""
        reader, writer = await self.connect()
        writer.write(request)
        received = b""
        while True:
            data = await reader.read(65_536)
            received += data
            if not data or responses(received, closed=False)[0].whole:
                break
        writer.close()
        return responses(received, closed=True)[0]

    async def settled(self, count: int = 1) -> Any:
        """Wait for that many records of usage; return the last."""
        async with asyncio.timeout(120):
            while len(self.recorder.closes) < count:
                await asyncio.sleep(0.01)
        return self.recorder.closes[-1]


@asynccontextmanager
async def proxy(
    answer: Answerer,
    *,
    listed: bool = True,
    secure: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    totals: Totals | None = None,
    **changes: Any,
) -> AsyncIterator[Proxy]:
    """Run one. `listed`: vLLM lists its models; `secure`: it speaks TLS."""
    async with upstream(answer, secure) as raw:
        if not listed:
            raw.models = b"<html>"
        running = Proxy(raw)
        started: asyncio.Future[Traffic] = asyncio.get_running_loop().create_future()
        scheme = "http" if secure is None else "https"
        settings = config(**{"upstream": f"{scheme}://127.0.0.1:{raw.port}", **changes})
        running.serving = asyncio.create_task(
            serve(settings, running.recorder, running.directory, running.registry, started.set_result, limits, totals)
        )
        try:
            async with asyncio.timeout(120):
                running.traffic = await started
                while listed and running.traffic.model is None:
                    await asyncio.sleep(0.01)
            yield running
        finally:
            if started.done() and not running.serving.done():
                await running.traffic.drain(0.1)
            await running.serving


def unary(_got: Got) -> list[Piece]:
    return [plain(ANSWER)]
