"""A server in vLLM's place that does with a body what a test says, while the body comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.proxy.serving import Proxy, proxy, unary

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Taking:
    """Takes a chunked body. `taken` counts its bytes, `ended` is set when it came to its end."""

    def __init__(self, behave: Behaviour | None = None) -> None:
        self.taken = 0
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()
        self.heads: list[bytes] = []
        self.behave = behave
        self.answer = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n"))[:-4])
                if self.behave is not None:
                    await self.behave(reader, writer)
                    return
                await self.take(reader)
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.close()

    async def take(self, reader: asyncio.StreamReader, most: int | None = None) -> None:
        """Read the body, or the beginning of it, and keep nothing."""
        while most is None or self.taken < most:
            size = int(await reader.readuntil(b"\r\n"), 16)
            await reader.readexactly(size + 2)
            self.taken += size
            if size == 0:
                self.ended.set()
                return


@asynccontextmanager
async def in_front_of(vllm: Taking, **changes: Any) -> AsyncIterator[Proxy]:
    """Run a proxy whose uploads go there."""
    server = await asyncio.start_server(vllm.serve, "127.0.0.1", 0, limit=1 << 20)
    port = server.sockets[0].getsockname()[1]
    try:
        async with proxy(unary, listed=False, **{"upstream": f"http://127.0.0.1:{port}", **changes}) as it:
            it.traffic._lane.pool.close()
            vllm.heads.clear()  # the look at the models
            yield it
    finally:
        server.close()
