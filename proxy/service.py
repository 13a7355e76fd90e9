"""`weighbridge proxy`: the parent process of one sidecar, until SIGTERM."""

import asyncio
import signal
import socket
import time
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from contracts import logs
from contracts.clock import utc_now
from contracts.settings import SettingsError
from proxy.admin import Admin
from proxy.sampler import Sampler
from proxy.settings import ProxySettings, address
from proxy.workers import KILL_AFTER, Workers

_PORT_WAIT: Final = 3.0
"""Seconds for workers of a parent that was killed to let go of the port."""
_log = structlog.get_logger(__name__)


def run(settings: ProxySettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError when an address is taken or the spool cannot be used."""
    logs.configure(settings.log_level, "proxy")
    structlog.contextvars.bind_contextvars(instance=settings.instance)
    with reserve(settings.listen) as port:
        asyncio.run(_serve(settings, port.getsockname()[:2]))


async def _serve(settings: ProxySettings, listen: tuple[str, int]) -> None:
    registry = CollectorRegistry()
    workers = Workers(settings, listen)
    sampler = Sampler(settings, lambda: sum(each.in_flight for each in workers.statuses.values()), registry, utc_now)
    admin = Admin(settings, workers, sampler, registry)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, workers.signal, signal.SIGHUP)
    await admin.start()
    sampling = asyncio.create_task(sampler.run())
    working = asyncio.create_task(workers.run())
    stopping = asyncio.create_task(stop.wait())
    _log.info("proxy starts", listen=settings.listen, upstream=settings.upstream, admin=settings.admin)
    try:
        while not (stopping.done() or (working.done() and not workers.draining)):
            await asyncio.wait(
                {stopping, working} if not working.done() else {stopping}, return_when=asyncio.FIRST_COMPLETED
            )
        if not workers.draining:
            workers.drain()
        await asyncio.wait({working}, timeout=settings.grace_seconds + KILL_AFTER)
        if not working.done():
            _log.error("workers killed", pids=workers.pids)
            working.cancel()
        await asyncio.gather(working, return_exceptions=working.cancelled())
    finally:
        for task in (sampling, stopping, working):
            task.cancel()
        await asyncio.gather(sampling, stopping, working, return_exceptions=True)
        await admin.stop()


def reserve(listen: str) -> socket.socket:
    """Return a socket bound to the address, on which nobody else listens: the workers share its port.

    Raises SettingsError when the address is taken or none of this machine's.
    """
    host, number = address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + _PORT_WAIT
    while True:
        try:
            with socket.socket(family) as probe:  # without SO_REUSEPORT, so that another proxy's port is seen as taken
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, number))
                number = probe.getsockname()[1]
            port = socket.socket(family)
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            port.bind((host, number))
        except OSError as error:
            if time.monotonic() > deadline:
                raise SettingsError(f"cannot listen on {listen} (change it with --listen): {error}") from None
            time.sleep(0.1)
        else:
            return port
