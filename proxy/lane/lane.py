"""What the connections of a process share, and what is done to all of them once in a while."""

import asyncio
import resource
import time
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from proxy.config import TrafficConfig
from proxy.desk import Desk
from proxy.lane.pool import Pool
from proxy.streamed.share import Shares

MAX_TICK: Final = 1.0
RESERVED_FILES: Final = 256
"""Files that the process itself needs: spool, metrics, connections to Kafka and Redis."""


log = structlog.get_logger(__name__)


def most_clients() -> int:
    """Return how many clients this process has files for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (files - RESERVED_FILES) // 2) if files != resource.RLIM_INFINITY else 1 << 20


class Connection(Protocol):
    """A client's connection, as the lane sees it."""

    def check(self, now: float) -> None:
        """Look whether something takes too long; `now` is of `time.monotonic`."""

    def retire(self) -> None:
        """Close as soon as nothing runs."""

    def cut(self) -> None:
        """End at once what runs: the process must stop."""


@dataclass(slots=True, eq=False)
class Lane:
    """One for a process."""

    config: TrafficConfig
    desk: Desk
    pool: Pool
    clients: set[Connection]
    emptied: asyncio.Event
    draining: bool = False
    room: int = field(default_factory=most_clients)
    """How many clients are served at once: two files each, for vLLM's side too."""
    crowded: bool = False
    shares: Shares = field(init=False)

    def __post_init__(self) -> None:
        self.shares = Shares(self.config.max_body)

    def full(self) -> bool:
        """Return whether no more clients can be served: without files left, what runs would fail with them."""
        full = len(self.clients) >= self.room
        if full and not self.crowded:
            log.warning(
                "clients are turned away", clients=len(self.clients), reason="the limit of open files (ulimit -n)"
            )
        self.crowded = full
        return full

    def forget(self, client: Connection) -> None:
        """Learn that a connection is gone."""
        self.clients.discard(client)
        if self.draining and not self.clients:
            self.emptied.set()

    async def sweep(self) -> None:
        """Enforce timeouts, record the progress of long streams, write out metrics: for ever."""
        times = self.config.timeouts
        shortest = min(times.first_byte, times.idle, times.total, times.client_idle, self.config.progress_interval)
        tick = min(MAX_TICK, shortest / 2)
        while True:
            await asyncio.sleep(tick)
            now = time.monotonic()
            for client in list(self.clients):
                client.check(now)
            self.pool.sweep()
            self.desk.flush_metrics()

    async def drain(self, seconds: float) -> None:
        """Let what runs finish, for at most `seconds`; cut the rest."""
        self.draining = True
        self.emptied.clear()
        for client in list(self.clients):
            client.retire()
        if self.clients:
            try:
                async with asyncio.timeout(seconds):
                    await self.emptied.wait()
            except TimeoutError:
                for client in list(self.clients):
                    client.cut()
        self.pool.close()
        self.desk.flush_metrics()
