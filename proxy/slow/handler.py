"""A connection that mitmproxy's layers read: it runs them, and tells them what happens outside."""

# mypy: disable-error-code="no-untyped-call"
# (mitmproxy annotates only a part of itself)

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Final

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.options import Options
from mitmproxy.proxy import commands, context, events, layer, mode_specs, server

from proxy.lane.lane import Lane

_NEVER: Final = 10**9


class Told(events.Event):
    """Something happened that the layer knows of: it should look what there is to do."""


class Serving(layer.Layer):
    """Our layer on top of mitmproxy's. `lane.Connection` says what `check`, `retire` and `cut` are for."""

    @abstractmethod
    def check(self, now: float) -> None:
        """Look whether something takes too long."""

    @abstractmethod
    def retire(self) -> None:
        """End as soon as nothing runs."""

    @abstractmethod
    def cut(self) -> None:
        """Settle what runs: the process must stop."""

    @abstractmethod
    def left(self) -> None:
        """Settle what runs: the client is gone."""

    def hold(self, deaf: bool) -> None:
        """Learn whether the client keeps up with what is sent (`deaf`: it does not)."""


class Handler(server.LiveConnectionHandler):
    """One client's connection. mitmproxy's own timeout is off: it cuts streams that only vLLM speaks on."""

    def __init__(
        self,
        lane: Lane,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        options: Options,
        mode: mode_specs.ProxyMode,
        make_layer: "MakeLayer",
    ) -> None:
        super().__init__(reader, writer, options, mode)
        self.timeout_watchdog.timeout = _NEVER
        self.serving = make_layer(self.layer.context, lane, self)
        self.layer = self.serving
        self._lane = lane
        self._writer = writer
        self._telling: set[asyncio.Task[None]] = set()
        lane.clients.add(self)

    async def run(self) -> None:
        """Serve until the connection ends."""
        try:
            await self.handle_client()
        finally:
            self.serving.left()
            self._lane.forget(self)

    async def handle_hook(self, hook: commands.StartHook) -> None:
        """Ignore it: there are no addons, our layers answer the hooks that matter."""

    def log(self, message: str, level: int = logging.INFO, exc_info: Any = None) -> None:
        """Log for mitmproxy, which goes on after an error in a layer: nobody knows what state that is in."""
        super().log(message, level, exc_info)
        if exc_info is not None:
            self.cut()

    def tell(self, event: events.Event) -> None:
        """Give the layers an event, soon."""
        task = asyncio.get_running_loop().create_task(self.server_event(event))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def adopt(self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over a connection to vLLM that is open."""
        connection.state = ConnectionState.OPEN
        connection.peername = writer.get_extra_info("peername")
        connection.sockname = writer.get_extra_info("sockname")
        connection.timestamp_start = time.monotonic()
        reading = server.ConnectionIO(reader=reader, writer=writer)
        self.transports[connection] = reading
        reading.handler = asyncio.get_running_loop().create_task(self.handle_connection(connection))

    # -- called by the lane ----------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Look whether something takes too long."""
        self.serving.check(now)

    def retire(self) -> None:
        """Close as soon as nothing runs."""
        self.serving.retire()

    def cut(self) -> None:
        """End at once."""
        self.serving.cut()
        self.abort()

    def abort(self) -> None:
        """Cut the connection: what was not sent yet is lost."""
        self._writer.transport.abort()


MakeLayer = Callable[[context.Context, Lane, Handler], Serving]


class HandedDown(asyncio.StreamReaderProtocol):
    """What reads a connection for a handler, and tells it when the client does not keep up."""

    def __init__(self, made: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Handler]) -> None:
        self._handler: Handler | None = None
        self._serve: asyncio.Task[None] | None = None

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._handler = made(reader, writer)
            self._serve = asyncio.get_running_loop().create_task(self._handler.run())

        super().__init__(asyncio.StreamReader(), begin)

    def take(self, transport: asyncio.Transport, data: bytes) -> None:
        """Take a connection over, with the bytes read so far."""
        transport.set_protocol(self)
        self.connection_made(transport)
        self.data_received(data)

    def pause_writing(self) -> None:
        """Let vLLM wait for the client."""
        super().pause_writing()
        if self._handler is not None:
            self._handler.serving.hold(deaf=True)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if self._handler is not None:
            self._handler.serving.hold(deaf=False)
