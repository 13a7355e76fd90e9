"""The process's traffic side: mitmproxy's `Master` with a server mode of our own, on the running (uv)loop."""

# mypy: disable-error-code="no-untyped-call"
# (mitmproxy annotates only a part of itself)

import asyncio
import gc
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from mitmproxy import master, options
from mitmproxy.addons import core, proxyserver
from mitmproxy.proxy import context, layers, mode_servers, mode_specs
from prometheus_client import CollectorRegistry

from proxy.config import TrafficConfig
from proxy.desk import Desk
from proxy.lane.fetch import fetch
from proxy.lane.front import Front
from proxy.lane.lane import Lane
from proxy.lane.pool import Pool
from proxy.ports import KeyDirectory, Recorder
from proxy.refuse import Refuse

BACKLOG: Final = 4096  # asyncio's 100 loses connections when many come at once
MODELS_SECONDS: Final = 5.0


class Traffic:
    """A serving traffic side, as the process around it sees it."""

    def __init__(self, lane: Lane, listener: "Listener", running: master.Master) -> None:
        self._lane = lane
        self._listener = listener
        self._master = running
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Return the port that is listened on (chosen by the system when the configured one is 0)."""
        return self._listener.port

    @property
    def in_flight(self) -> int:
        """Return how many metered requests were admitted and not yet answered."""
        return self._lane.desk.in_flight

    @property
    def model(self) -> str | None:
        """Return the first model that the upstream serves, or None while that is not known."""
        return self._lane.desk.house.models.default

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let what runs finish for at most `seconds`, cut the rest (`proxy_lost`); `serve` then returns."""
        for instance in self._listener.servers:
            if instance.is_running:
                await instance.stop()
        await self._lane.drain(seconds)
        self._master.shutdown()

    def reload(self) -> None:
        """Read again what can change while serving (SIGHUP): the upstream's list of models."""
        task = asyncio.get_running_loop().create_task(self._lane.desk.models.refresh())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Listener(proxyserver.Proxyserver):
    """mitmproxy's server addon, with the lane that its server hands plain HTTP/1.1 to. It owns the listening socket."""

    name = "proxyserver"

    def __init__(self, lane: Lane, listening: socket.socket) -> None:
        super().__init__()
        self.lane = lane
        self.listening = listening
        self.port: int = listening.getsockname()[1]
        self.opened: Callable[[], None] = lambda: None

    def running(self) -> None:
        """Tell that the port is open."""
        super().running()
        self.opened()


class MeteredMode(mode_specs.ReverseMode):
    """`metered:http://host:port`: reverse mode, with our lane in front."""


class MeteredInstance(mode_servers.AsyncioServerInstance[MeteredMode]):
    """The server of that mode."""

    manager: Listener

    async def listen(self, _host: str, _port: int) -> list[Any]:
        """Serve the socket that is bound already."""
        loop = asyncio.get_running_loop()
        front = partial(Front, self.manager.lane, self.hand_down)
        return [await loop.create_server(front, sock=self.manager.listening, backlog=BACKLOG)]

    def hand_down(self, transport: asyncio.Transport, data: bytes) -> None:
        """Give a connection to mitmproxy, with the bytes read so far."""
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader, self.handle_stream)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def make_top_layer(self, connection: context.Context) -> layers.modes.ReverseProxy:
        """Return mitmproxy's own layer of reverse mode."""
        return layers.modes.ReverseProxy(connection)


async def serve(
    config: TrafficConfig,
    recorder: Recorder,
    directory: KeyDirectory,
    registry: CollectorRegistry,
    started: Callable[[Traffic], None],
) -> None:
    """Serve until drained. Run it on a uvloop loop, one call at a time in a process.

    `started` is called once, when the port is open. The caller keeps the `Traffic` and calls `drain` on SIGTERM.
    Several processes may serve the same port (`reuse_port`). Raises OSError when the port is taken, ValueError when
    the upstream is no URL.
    """
    lane = _lane(config, recorder, directory, registry)
    listening = bind(config.listen_host, config.listen_port, config.reuse_port)
    logging.getLogger("mitmproxy").setLevel(logging.WARNING)
    opts = options.Options(mode=[f"metered:{config.upstream}"])
    running = master.Master(opts, event_loop=asyncio.get_running_loop(), with_termlog=False)
    listener = Listener(lane, listening)
    running.addons.add(core.Core(), listener, Refuse())
    opts.update(connection_strategy="lazy")
    listener.opened = lambda: started(Traffic(lane, listener, running))
    gc.collect()
    gc.freeze()  # what is loaded now stays: do not look through it again at every collection
    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(lane.sweep()), tasks.create_task(lane.desk.models.run())]
        await running.run()
        for task in background:
            task.cancel()


def bind(host: str, port: int, reuse_port: bool) -> socket.socket:
    """Return a bound socket. Raises OSError when the port is taken or the host is none of ours."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.setblocking(False)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


def _lane(config: TrafficConfig, recorder: Recorder, directory: KeyDirectory, registry: CollectorRegistry) -> Lane:
    pool = Pool(config.address, config.tls, config.timeouts.connect)
    host = config.upstream.partition("://")[2].rstrip("/").encode()
    fields = [(b"host", host), (b"accept", b"application/json")]
    if config.upstream_api_key:
        fields.append((b"authorization", b"Bearer " + config.upstream_api_key.encode()))
    fetch_models = partial(fetch, pool, b"/v1/models", fields, MODELS_SECONDS)
    desk = Desk(config, recorder, directory, registry, fetch_models)
    return Lane(config=config, desk=desk, pool=pool, clients=set(), emptied=asyncio.Event())
