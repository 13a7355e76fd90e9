"""Where answers go: a client's connection, or a store for the answers that nobody waits for."""

from typing import Protocol


class Outlet(Protocol):
    """Where an answer goes; a connection. When its client leaves, it cancels the task that answers."""

    def send(self, status: int, body: bytes) -> None:
        """Send a whole JSON answer."""

    def open_stream(self) -> None:
        """Send the head of a stream."""

    def write(self, data: bytes) -> None:
        """Send a part of a stream."""

    def close_stream(self) -> None:
        """End a stream."""

    def abort(self) -> None:
        """Break the connection."""

    async def writable(self) -> None:
        """Wait until the client has read enough for more to be written."""
