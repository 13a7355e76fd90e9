"""Connections to one upstream, kept for the next request."""

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self, TypeVar

from proxy.lane.circuit import Circuit, OpenCircuitError
from proxy.lane.habit import Habit
from proxy.lane.head import ResponseHead
from proxy.lane.upstream import UpstreamConnection

C = TypeVar("C", bound=UpstreamConnection)
T = TypeVar("T")
IDLE_SECONDS: Final = 4.0
"""uvicorn, which serves vLLM, closes connections that were idle for 5 seconds: ours must be the first to let go."""
STALE_SECONDS: Final = 1.0
"""A kept connection that ends this soon after a request was sent on it, without a byte, had been closed before it came."""


class Pool:
    """The connections of one upstream; as many as there are requests in flight, the idle ones kept for a while."""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None, connect_seconds: float) -> None:
        self._address = address
        self._tls = tls
        self._connect_seconds = connect_seconds
        self._idle: dict[UpstreamConnection, None] = {}  # the longest idle first
        self._own: dict[UpstreamConnection, tuple[str, int]] = {}
        self.circuit = Circuit(address)
        self.habit = Habit()
        self.known: ResponseHead | None = None

    def take(self) -> UpstreamConnection | None:
        """Return an idle connection, or None when there is none that is fresh enough."""
        oldest = time.monotonic() - IDLE_SECONDS
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    async def connect(self) -> UpstreamConnection:
        """Return a new connection. Raises OSError (TimeoutError is one)."""
        return await self.connect_as(UpstreamConnection)

    async def connect_as(self, kind: Callable[[Self], C]) -> C:
        """Return a new connection that `kind` makes. Raises OSError."""
        loop = asyncio.get_running_loop()
        made = loop.create_connection(lambda: kind(self), *self._address, ssl=self._tls)
        transport, connection = await self._try(made)
        self._own[connection] = transport.get_extra_info("sockname")[:2]
        return connection

    async def stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a new connection for what is no HTTP. Raises OSError."""
        return await self._try(asyncio.open_connection(*self._address, ssl=self._tls))

    async def _try(self, connecting: Coroutine[Any, Any, T]) -> T:
        try:
            self.circuit.check()
        except OpenCircuitError:
            connecting.close()
            raise
        try:
            async with asyncio.timeout(self._connect_seconds):
                made = await connecting
        except OSError as error:
            self.circuit.note(error)
            raise
        self.circuit.note(None)
        return made

    def owns(self, address: tuple[str, int]) -> bool:
        """Return whether one of these connections begins at an address: who accepts such a one talks to itself."""
        return address in self._own.values()

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection that may serve another request."""
        self._idle[connection] = None

    def forget(self, connection: UpstreamConnection) -> None:
        """Drop a connection that is gone."""
        self._idle.pop(connection, None)
        self._own.pop(connection, None)

    def sweep(self) -> None:
        """Close what was idle for too long."""
        oldest = time.monotonic() - IDLE_SECONDS
        for connection in [connection for connection in self._idle if connection.idle_since < oldest]:
            del self._idle[connection]
            connection.close()

    def close(self) -> None:
        """Close all idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
