"""The parent process of one proxy, until SIGTERM. Started by `proxy.service`, never by hand.

It stays for as long as the proxy runs, and so imports neither what reads settings nor what serves requests.
"""

import asyncio
import os
import resource
import signal
import socket
import sys
import time
from typing import Final

import msgspec
import structlog

from contracts import logs
from proxy.admin import Admin
from proxy.plain import Plain, address
from proxy.status import CannotStartError
from proxy.workers import KILL_AFTER, WRONG_USE, Workers

_PORT_WAIT: Final = 3.0
"""Seconds for workers of a parent that was killed to let go of the port."""
_log = structlog.get_logger(__name__)


def main() -> int:
    """Run the proxy whose settings stand in the file descriptor that the command line names. Returns the exit status.

    0: ended by a signal, 2: it cannot start as it is told to; one line on stderr says why.
    """
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        settings = msgspec.json.decode(file.read(), type=Plain)
    logs.configure(settings.log_level, "proxy")
    structlog.contextvars.bind_contextvars(instance=settings.instance)
    allow_open_files()
    try:
        with reserve(settings.listen) as port:
            asyncio.run(_serve(settings, port.getsockname()[:2]))
    except CannotStartError as error:
        sys.stderr.write(f"weighbridge: {error}\n")
        return WRONG_USE
    return 0


def allow_open_files() -> None:
    """Have as many files open as the system lets us: each stream takes two, and many shells begin with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(settings: Plain, listen: tuple[str, int]) -> None:
    workers = Workers(settings, listen)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, workers.signal, signal.SIGHUP)
    with Admin(settings, workers, lambda: loop.call_soon_threadsafe(workers.drain)):
        _log.info("proxy starts", listen=settings.listen, upstream=settings.upstream, admin=settings.admin)
        stopping = asyncio.create_task(stop.wait())
        working = asyncio.create_task(workers.run())
        try:
            await _until_stopped(settings, workers, working, stopping)
        finally:
            for task in (stopping, working):
                task.cancel()
            await asyncio.gather(stopping, working, return_exceptions=True)


async def _until_stopped(
    settings: Plain, workers: Workers, working: "asyncio.Task[None]", stopping: "asyncio.Task[bool]"
) -> None:
    while not (stopping.done() or (working.done() and not workers.draining)):
        await asyncio.wait(
            {stopping, working} if not working.done() else {stopping}, return_when=asyncio.FIRST_COMPLETED
        )
    if not workers.draining:
        _log.info("proxy stops: running requests may end first", grace_seconds=settings.grace_seconds)
        workers.drain()
    await asyncio.wait({working}, timeout=settings.grace_seconds + KILL_AFTER)
    if not working.done():
        _log.error("workers killed", pids=workers.pids)
        working.cancel()
    await asyncio.gather(working, return_exceptions=working.cancelled())


def reserve(listen: str) -> socket.socket:
    """Return a socket bound to the address, on which nobody else listens: the workers share its port.

    Raises CannotStartError when the address is taken or none of this machine's.
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
                raise CannotStartError(f"cannot listen on {listen} (change it with --listen): {error}") from None
            time.sleep(0.1)
        else:
            return port


if __name__ == "__main__":
    sys.exit(main())
