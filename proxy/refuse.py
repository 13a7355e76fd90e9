"""What the proxy does not meter yet, TLS and HTTP/2 from clients, is refused in the client's own protocol.

It stands where mitmproxy asks which layer speaks on a connection. Metering these protocols replaces this addon.
"""

from collections.abc import Generator
from typing import Any, Final

import structlog
from mitmproxy.proxy import commands, events, layer

log = structlog.get_logger(__name__)

_TLS_ALERT: Final = bytes.fromhex("15 0303 0002 0228")  # fatal: handshake_failure
_REASON: Final = b"HTTP/1.1 only"
_HTTP2_GOAWAY: Final = (
    bytes.fromhex("000000 04 00 00000000")  # SETTINGS, empty
    + (8 + len(_REASON)).to_bytes(3, "big")
    + bytes.fromhex("07 00 00000000 00000000 0000000d")  # GOAWAY: HTTP_1_1_REQUIRED
    + _REASON
)


class RefuseLayer(layer.Layer):
    """Answers the first bytes with a refusal, and closes."""

    def _handle_event(self, event: events.Event) -> Generator[commands.Command, Any, None]:
        if isinstance(event, events.DataReceived):
            http2 = event.data.startswith(b"PRI ")
            log.warning("refused", protocol="HTTP/2" if http2 else "TLS", reason="only plain HTTP/1.1 is metered")
            yield commands.SendData(event.connection, _HTTP2_GOAWAY if http2 else _TLS_ALERT)
            yield commands.CloseConnection(event.connection)


class Refuse:
    """The addon."""

    name = "nextlayer"

    def next_layer(self, question: layer.NextLayer) -> None:
        """Say that the refusal speaks."""
        question.layer = RefuseLayer(question.context)
