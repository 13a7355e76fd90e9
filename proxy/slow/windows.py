"""What clients may send over HTTP/2 before we read on: a body that is passed on opens its window again as vLLM takes it.

mitmproxy opens windows of 2 GiB, and opens them again whenever something came.
"""

# mypy: disable-error-code="no-untyped-call"
# (h2 annotates only a part of itself)

from collections.abc import Callable
from typing import Final

from h2.connection import H2Connection

WINDOW: Final = 1 << 20
"""Bytes of a stream that may be on their way or wait here."""


class Windows:
    """Those of one connection's streams. `wake`: called when there is something to send."""

    def __init__(self, connection: H2Connection, wake: Callable[[], None]) -> None:
        self._connection, self._wake = connection, wake
        self._acknowledge = connection.acknowledge_received_data
        self._waiting: dict[int, int] = {}
        self._changed = False
        connection.local_settings.initial_window_size = WINDOW
        connection.local_settings.acknowledge()
        connection.acknowledge_received_data = self._received

    def reader(self, stream_id: int) -> Callable[[int], None]:
        """Open this stream's window from now on only as the returned function is told that bytes were taken."""
        self._waiting[stream_id] = 0
        return lambda count: self._taken(stream_id, count)

    def forget(self, stream_id: int) -> None:
        """Open the window of a stream whose request was answered; its connection's is that of others too."""
        waiting = self._waiting.pop(stream_id, 0)
        if waiting:
            self._acknowledge(waiting, stream_id)
            self._changed = True

    def opened(self) -> bytes:
        """Return what tells the client of windows that were opened."""
        if not self._changed:
            return b""
        self._changed = False
        return bytes(self._connection.data_to_send())

    def _received(self, count: int, stream_id: int) -> None:
        """Take what mitmproxy acknowledges as soon as it came."""
        if stream_id in self._waiting:
            self._waiting[stream_id] += count
        else:
            self._acknowledge(count, stream_id)

    def _taken(self, stream_id: int, count: int) -> None:
        waiting = self._waiting.get(stream_id)
        if waiting:
            count = min(count, waiting)
            self._waiting[stream_id] = waiting - count
            self._acknowledge(count, stream_id)
            self._changed = True
            self._wake()
