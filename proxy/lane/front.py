"""The first bytes of a connection decide who serves it: plain HTTP/1.1 stays here, TLS and HTTP/2 go down to mitmproxy."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, cast

from proxy.lane.client import ClientConnection
from proxy.lane.lane import Lane

_TLS_HANDSHAKE: Final = 0x16
_HTTP2: Final = b"PRI "

HandDown = Callable[[asyncio.Transport, bytes], None]
"""Give a connection, with the bytes read from it, to mitmproxy."""


class Front(asyncio.Protocol):
    """A connection that has not said anything yet."""

    __slots__ = ("_first", "_hand_down", "_lane", "_since", "_transport")

    def __init__(self, lane: Lane, hand_down: HandDown) -> None:
        self._lane = lane
        self._hand_down = hand_down
        self._first = b""
        self._since = time.monotonic()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._lane.clients.add(self)

    def data_received(self, data: bytes) -> None:
        """Decide."""
        transport = self._transport
        assert transport is not None
        if self._first:
            data = self._first + data
        if len(data) < len(_HTTP2) and _HTTP2.startswith(data):  # may become either
            self._first = data
            return
        self._lane.clients.discard(self)
        if data[0] == _TLS_HANDSHAKE or data.startswith(_HTTP2):
            self._lane.forget(self)
            self._hand_down(transport, data)
            return
        client = ClientConnection(self._lane, transport)
        transport.set_protocol(cast(asyncio.Protocol, client))  # by its methods; see `ClientConnection`
        client.data_received(data)

    def connection_lost(self, _error: Exception | None) -> None:
        """End."""
        self._lane.forget(self)

    def check(self, now: float) -> None:
        """Close a connection that says nothing."""
        if now - self._since > self._lane.config.timeouts.client_idle:
            self.retire()

    def retire(self) -> None:
        """Close: nothing runs."""
        if self._transport is not None:
            self._transport.close()

    def cut(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
