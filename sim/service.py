"""The shell: settings in, a listening simulator out."""

import asyncio
import errno
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import uvloop

from contracts import logs
from contracts.clock import utc_now
from contracts.settings import SettingsError
from sim.generate import Backend
from sim.journal import Journal
from sim.metrics import Counters, Exposition, VllmCollector
from sim.routes import Routes
from sim.server import Connection, DateHeader
from sim.settings import SimSettings
from sim.site import Site

_BACKLOG = 4096


@dataclass(frozen=True)
class Running:
    """A simulator that listens: its address and its figures."""

    host: str
    port: int
    counters: Counters

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://{self.host}:{self.port}"


@asynccontextmanager
async def running(settings: SimSettings) -> AsyncIterator[Running]:
    """Listen in this event loop until the block ends; then connections break, as with vLLM's default of not waiting.

    Raises SettingsError when the address cannot be had.
    """
    counters, live = Counters(), set[Connection]()
    journal = Journal(settings.sim_log)
    collector = VllmCollector(
        counters,
        settings.sim_models.split(",")[0].strip(),
        settings.sim_block_size,
        settings.sim_cache_blocks,
        utc_now().timestamp(),
    )
    site = Site(settings, Backend(settings, counters, journal))
    routes = Routes(
        site,
        Exposition(collector),
        lambda: counters.running + counters.waiting,
    )
    date = DateHeader()
    host, _, port = settings.sim_listen.rpartition(":")
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(routes, date, live), host.strip("[]"), int(port), backlog=_BACKLOG
        )
    except OSError as error:
        journal.close()
        taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be listened on ({error.strerror})"
        raise SettingsError(
            f"WEIGHBRIDGE_SIM_LISTEN: {settings.sim_listen} {taken}; choose another with --listen"
        ) from error
    try:
        yield Running(host, server.sockets[0].getsockname()[1], counters)
    finally:
        server.close()
        for connection in list(live):
            connection.shut()
        await server.wait_closed()
        await site.store.close()
        await asyncio.sleep(0)  # lets cancelled answers note that they were
        journal.close()


def run(settings: SimSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises SettingsError when the address cannot be had."""
    logs.configure(settings.log_level, "sim")
    uvloop.run(_serve(settings))


async def _serve(settings: SimSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings) as server:
        structlog.get_logger().info("listening", url=server.url, models=settings.sim_models)
        await stop.wait()
