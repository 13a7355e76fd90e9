"""An upstream that takes its time, and a proxy that has to be empty in the end."""

import asyncio

from tests.proxy.serving import SSE, Proxy, chunk, event
from tests.proxy.upstream import Got, Piece

END = [chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]


def slowly(_got: Got) -> list[Piece]:
    return [SSE, *[piece for n in range(1, 500) for piece in (event(n), 0.02)], *END]


async def emptied(it: Proxy) -> None:
    """Wait until the proxy has forgotten all connections."""
    async with asyncio.timeout(120):
        while it.clients:
            await asyncio.sleep(0.01)
