"""The first bytes of a connection decide who serves it: HTTP/1.1 stays here, HTTP/2 and WebSockets go to the slow lane.

TLS has been taken off before: what comes here is what it carried.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, cast

import structlog

from proxy.lane.client import ClientConnection
from proxy.lane.lane import Lane

log = structlog.get_logger(__name__)

_TLS_HANDSHAKE: Final = 0x16
_TLS_ALERT: Final = bytes.fromhex("15 0303 0002 0228")  # fatal: handshake_failure
_SLOW: Final = (b"PRI * HTTP/2.0\r\n", b"GET /v1/realtime")
"""HTTP/2, and the one path that upgrades. An upgrade that is offered anywhere else, or later, is declined."""
_LONGEST: Final = max(map(len, _SLOW))

HandDown = Callable[[Lane, asyncio.Transport, bytes], None]
"""Give a connection, with the bytes read from it, to the slow lane."""
Meant = Callable[[asyncio.Transport], Lane | None]
"""Find out whose connection one is; None: nobody's."""


class Front(asyncio.Protocol):
    """A connection that has not said anything yet. `retire` and `cut` have nothing to wait for."""

    __slots__ = ("_first", "_hand_down", "_lane", "_meant", "_since", "_transport")

    def __init__(self, lane: Lane, meant: Meant | None, hand_down: HandDown) -> None:
        """`lane`: whose connections these are, until `meant` knows better."""
        self._lane = lane
        self._meant = meant
        self._hand_down = hand_down
        self._first = b""
        self._since = time.monotonic()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        if self._lane.full():
            self._transport.abort()
            return
        self._lane.clients.add(self)
        if self._lane.draining:  # it was in the middle of its TLS handshake
            self.retire()

    def data_received(self, data: bytes) -> None:
        """Decide."""
        transport = self._transport
        assert transport is not None
        if self._first:
            data = self._first + data
        if len(data) < _LONGEST and any(start.startswith(data) for start in _SLOW):  # may become either
            self._first = data
            return
        lane = self._lane
        if self._meant is not None:
            found = self._meant(transport)
            if found is None or (found is not lane and found.full()):
                transport.abort()
                return
            lane = found
        if data[0] == _TLS_HANDSHAKE:
            log.warning("TLS refused", reason="no certificate is set (tls_cert)")
            transport.write(_TLS_ALERT)
            transport.close()
        elif data.startswith(_SLOW):
            self._hand_down(lane, transport, data)
            self._lane.forget(self)
        else:
            client = ClientConnection(lane, transport)
            self._lane.forget(self)
            transport.set_protocol(client)
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
