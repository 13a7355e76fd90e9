"""A request of the proxy's own to its upstream, answered as a whole."""

import asyncio
from typing import Final

from proxy.headers import Headers
from proxy.lane import head
from proxy.lane.head import ResponseHead
from proxy.lane.pool import Pool

MAX_BODY: Final = 8 << 20


class _Whole:
    """Collects an answer."""

    def __init__(self, answer: "asyncio.Future[tuple[int, bytes]]") -> None:
        self._answer = answer
        self._status = 0
        self._body = bytearray()

    def on_interim(self, head: ResponseHead) -> None:
        """Ignore it."""

    def on_head(self, head: ResponseHead) -> None:
        """Note the status."""
        self._status = head.status

    def on_data(self, data: bytes, last: bool, _trailers: Headers) -> None:
        """Collect."""
        self._body += data
        if len(self._body) > MAX_BODY:
            self.on_lost(f"an answer of more than {MAX_BODY} bytes", False)
        elif last and not self._answer.done():
            self._answer.set_result((self._status, bytes(self._body)))

    def on_lost(self, message: str, _stale: bool) -> None:
        """Fail."""
        if not self._answer.done():
            self._answer.set_exception(ConnectionError(message))


async def fetch(pool: Pool, target: bytes, headers: Headers, seconds: float) -> tuple[int, bytes]:
    """Return status and body of a GET. Raises OSError when there is no answer in time."""
    answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
    connection = await pool.connect()
    try:
        connection.begin(_Whole(answer), head.get(target, headers), False, False)
        async with asyncio.timeout(seconds):
            return await answer
    finally:
        if not answer.done() or answer.cancelled() or answer.exception() is not None:
            connection.abort()
