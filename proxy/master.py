"""The process's traffic side: mitmproxy's `Master` with a server mode of our own, on the running (uv)loop."""

# mypy: disable-error-code="no-untyped-call"
# (mitmproxy annotates only a part of itself)

import asyncio
import gc
import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn

from mitmproxy import ctx, master, options
from mitmproxy.addons import core, proxyserver
from mitmproxy.proxy import context, mode_servers, mode_specs
from prometheus_client import CollectorRegistry

from proxy.config import TrafficConfig
from proxy.desk import Desk
from proxy.lane.circuit import Circuit
from proxy.lane.fetch import fetch
from proxy.lane.front import Front
from proxy.lane.lane import Lane
from proxy.lane.origin import Meant, plain
from proxy.lane.pool import Pool
from proxy.meters import Meters
from proxy.models import Fetch
from proxy.ports import KeyDirectory, Limits, Recorder, Totals
from proxy.queue.gate import Gate
from proxy.slow.handler import HandedDown, Handler, MakeLayer
from proxy.slow.http2 import Http2
from proxy.slow.realtime import Realtime
from proxy.tls import HANDSHAKE_SECONDS, ServerTls

BACKLOG: Final = 4096  # asyncio's 100 loses connections when many come at once
MODELS_SECONDS: Final = 5.0
MAX_HANDSHAKE: Final = "64k"
_YOUNG_OBJECTS: Final = 10_000
"""How many more objects there are before the collector looks for circles: those of requests that run are none of them."""
"""The body that may come with an upgrade, or with vLLM's refusal of one."""


class Traffic:
    """A serving traffic side, as the process around it sees it."""

    def __init__(self, lanes: "Lanes", listener: "Listener", running: master.Master) -> None:
        self._lanes = lanes
        self._lane = lanes.all[0]
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
        return sum(lane.desk.in_flight for lane in self._lanes.all)

    @property
    def circuits(self) -> dict[str, Circuit]:
        """Return whether each upstream can be reached, by the name of its instance."""
        return {lane.config.instance: lane.pool.circuit for lane in self._lanes.all}

    @property
    def model(self) -> str | None:
        """Return the first model that the upstream serves, or None while that is not known."""
        return self._lane.desk.house.models.default

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let what runs finish for at most `seconds`, cut the rest (`proxy_lost`); `serve` then returns."""
        for instance in self._listener.servers:
            if instance.is_running:
                await instance.stop()
        await asyncio.gather(*(lane.drain(seconds) for lane in self._lanes.all))
        self._master.shutdown()

    def reload(self) -> None:
        """Read again what can change while serving (SIGHUP): the certificate, the upstream's list of models."""
        if self._lanes.tls is not None:
            self._lanes.tls.reload()
        for lane in self._lanes.all:
            task = asyncio.get_running_loop().create_task(lane.desk.models.refresh())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


class Lanes:
    """One lane for each upstream, and how a connection finds its own."""

    def __init__(
        self,
        config: TrafficConfig,
        recorder: Recorder,
        directory: KeyDirectory,
        registry: CollectorRegistry,
        limits: Limits | None = None,
        totals: Totals | None = None,
        gates: Sequence[Gate | None] | None = None,
    ) -> None:
        """Raises ValueError when an upstream is no URL, OSError when a certificate cannot be used."""
        meters = Meters(registry)
        self.all = []
        configs = config.each()
        for each, gate in zip(configs, gates or [None] * len(configs), strict=True):
            desk = partial(
                Desk,
                each,
                recorder,
                directory,
                registry,
                meters=Meters(registry, meters),
                limits=limits,
                totals=totals,
                gate=gate,
            )
            self.all.append(_lane(each, desk))
        for lane in self.all:
            lane.room = max(1, lane.room // len(self.all))
        self.tls = ServerTls(*config.tls_files) if config.tls_files is not None else None
        places = {
            (plain(lane.config.address[0]), lane.config.address[1]): lane for lane in self.all if config.transparent
        }
        self.meant = Meant(places) if config.transparent else None


class Listener(proxyserver.Proxyserver):
    """mitmproxy's server addon, with the lanes that its server hands connections to. It owns the listening socket."""

    name = "proxyserver"

    def __init__(self, lanes: Lanes, listening: socket.socket) -> None:
        super().__init__()
        self.lanes = lanes
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
        lanes, loop = self.manager.lanes, asyncio.get_running_loop()
        front = partial(Front, lanes.all[0], lanes.meant, self.hand_down)
        secure = lanes.tls.context if lanes.tls is not None else None
        patience = HANDSHAKE_SECONDS if secure is not None else None
        server = await loop.create_server(
            front, sock=self.manager.listening, backlog=BACKLOG, ssl=secure, ssl_handshake_timeout=patience
        )
        return [server]

    def hand_down(self, lane: Lane, transport: asyncio.Transport, data: bytes) -> None:
        """Give a connection to mitmproxy's layers, with the bytes read so far."""
        make_layer: MakeLayer = Http2 if data.startswith(b"PRI ") else Realtime

        def made(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Handler:
            return Handler(lane, reader, writer, options=ctx.options, mode=self.mode, make_layer=make_layer)

        HandedDown(made).take(transport, data)

    def make_top_layer(self, _connection: context.Context) -> NoReturn:
        """Never asked: connections come from `hand_down`, and bring their layer along."""
        raise NotImplementedError


async def serve(
    config: TrafficConfig,
    recorder: Recorder,
    directory: KeyDirectory,
    registry: CollectorRegistry,
    started: Callable[[Traffic], None],
    limits: Limits | None = None,
    totals: Totals | None = None,
    gates: Sequence[Gate | None] | None = None,
) -> None:
    """Serve until drained. Run it on a uvloop loop, one call at a time in a process.

    `gates`: into the queue of each upstream, where other processes stand in them, too.
    `started` is called once, when the port is open. The caller keeps the `Traffic` and calls `drain` on SIGTERM.
    Several processes may serve the same port (`reuse_port`). Raises OSError when the port is taken, ValueError when
    the upstream is no URL. SSLError is an OSError.
    """
    lanes = Lanes(config, recorder, directory, registry, limits, totals, gates)
    listening = bind(config.listen_host, config.listen_port, config.reuse_port)
    logging.getLogger("mitmproxy").setLevel(logging.WARNING)
    opts = options.Options(mode=[f"metered:{lanes.all[0].config.upstream}"])
    running = master.Master(opts, event_loop=asyncio.get_running_loop(), with_termlog=False)
    listener = Listener(lanes, listening)
    running.addons.add(core.Core(), listener)
    opts.update(connection_strategy="lazy", keep_host_header=True, body_size_limit=MAX_HANDSHAKE)
    listener.opened = lambda: started(Traffic(lanes, listener, running))
    gc.collect()
    gc.freeze()  # what is loaded now stays: do not look through it again at every collection
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(work) for lane in lanes.all for work in (lane.sweep(), lane.desk.models.run())]
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


def _lane(config: TrafficConfig, desk: Callable[[Fetch], Desk]) -> Lane:
    pool = Pool(config.address, config.upstream_tls(), config.timeouts.connect)
    host = config.upstream.partition("://")[2].rstrip("/").encode()
    fields = [(b"host", host), (b"accept", b"application/json")]
    if config.upstream_api_key:
        fields.append((b"authorization", b"Bearer " + config.upstream_api_key.encode()))
    fetch_models = partial(fetch, pool, b"/v1/models", fields, MODELS_SECONDS)
    return Lane(config=config, desk=desk(fetch_models), pool=pool, clients=set(), emptied=asyncio.Event())
