"""One worker process: everything that a request meets, wired together. Started by `proxy.workers`, never by hand."""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any, Final

import msgspec
import structlog
import uvloop
from prometheus_client import CollectorRegistry

from contracts import logs, metrics
from contracts.clock import utc_now
from contracts.events import AckData
from proxy import master, status
from proxy.acks import AckReader
from proxy.copies import Copies
from proxy.day_totals import RedisDayTotals
from proxy.envelope import source
from proxy.identities import Identities
from proxy.journal import Journal
from proxy.kafka import connection
from proxy.lane.circuit import Gauges
from proxy.last_resort import end, end_within
from proxy.limits.limiter import RedisLimits
from proxy.limits.store import RedisStore
from proxy.plain import Plain
from proxy.publisher import Publisher
from proxy.queue.gates import Gates
from proxy.recorder import SpoolRecorder, new_epoch
from proxy.sampler import Sampler
from proxy.spool import adoption
from proxy.spool.header import Header
from proxy.status import Start, Status

SAMPLING: Final = 1
"""The number of the worker that looks at the upstream for all."""
STATUS_EVERY: Final = 1.0
ACK_WAIT: Final = 3.0
"""Seconds that an ending process waits for the ledger, once the broker has everything. The next start does the rest."""
END_AFTER: Final = 30.0
"""Seconds over the grace time before a worker that should have ended ends itself: long after its parent kills it."""
_SWITCH_SECONDS: Final = 0.001
_PR_SET_PDEATHSIG: Final = 1
_log = structlog.get_logger(__name__)


class Worker:
    """The parts of one worker process."""

    def __init__(self, start: Start) -> None:
        """Open the spool; raises OSError when that cannot be done."""
        settings: Plain = start.settings
        self._settings, self._start = settings, start
        self._registry = CollectorRegistry()
        header = Header(source(settings.instance), new_epoch(), 1)
        spool = adoption.create(settings.spool, header, settings.spool_max_bytes)
        self._journal = Journal(settings.spool, spool, utc_now)
        kafka = connection(settings, f"weighbridge-{settings.instance}-{start.number}")
        self._copies = Copies(kafka, metrics.PROMPT_COPIES.counter(self._registry))
        full = settings.on_spool_full == "allow"
        self._recorder = SpoolRecorder(spool, allow_when_full=full, copies=self._copies)
        published = metrics.PUBLISHED.counter(self._registry)
        self._publisher = Publisher(kafka, self._journal, settings.publish_window_bytes, published)
        self._acks = AckReader(kafka, self._acknowledge)
        self._counters = RedisStore(settings.redis_url)
        self._limits = RedisLimits(self._counters, self._recorder.epoch)
        self._identities = Identities(settings, start.number, self._registry)
        self._totals = RedisDayTotals(self._identities.redis)
        self._gates = Gates(settings, start.number - 1, start.queues, start.bells)
        self._samplers = self._sampling(settings) if start.number == SAMPLING else []
        self._traffic: master.Traffic | None = None
        self._draining = False

    async def run(self) -> None:
        """Serve until SIGTERM, end what runs, and deliver what can be delivered within the grace time."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._gates.listen()
        flushed = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            flushing = tasks.create_task(self._journal.keep_flushing(flushed))
            background = [tasks.create_task(part) for part in self._parts()]
            config = self._settings.traffic(self._start.listen)
            serving = tasks.create_task(
                master.serve(
                    config,
                    self._recorder,
                    self._identities.directory,
                    self._registry,
                    self._started,
                    self._limits,
                    self._totals,
                    self._gates.all,
                )
            )
            try:
                await _either(stop, serving)
            finally:
                end_within(self._settings.grace_seconds + END_AFTER, loop)
            deadline = time.monotonic() + self._settings.grace_seconds
            await self._drain(serving)
            flushed.set()
            await flushing
            await self._deliver(deadline)
            await end(background)
        await self._limits.close()
        await self._counters.close()
        await self._identities.close()
        self._journal.close()

    def _parts(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self._journal.keep_adopting(),
            self._publisher.run(),
            self._acks.run(),
            *self._identities.parts(),
            self._limits.run(),
            self._copies.run(),
            self._report(),
            *(sampler.run() for sampler in self._samplers),
        ]

    def _acknowledge(self, ack: AckData) -> None:
        self._journal.acknowledge(ack)
        if ack.epoch == self._recorder.epoch:
            self._limits.confirmed(ack.contiguous)

    def _sampling(self, settings: Plain) -> list[Sampler]:
        up = metrics.UPSTREAM_UP.gauge(self._registry)
        each = settings.each()
        return [
            Sampler(one, up, utc_now, gate, alone=len(each) == 1)
            for one, gate in zip(each, self._gates.all, strict=True)
        ]

    def _started(self, traffic: master.Traffic) -> None:
        self._traffic = traffic
        self._tell()

    def _reload(self) -> None:
        self._identities.directory.forget_answers()
        if self._traffic is not None:
            self._traffic.reload()

    async def _drain(self, serving: "asyncio.Task[None]") -> None:
        self._draining = True
        self._tell()
        if self._traffic is None:
            serving.cancel()
        elif not serving.done():
            await self._traffic.drain(self._settings.grace_seconds)
            await serving

    async def _deliver(self, deadline: float) -> None:
        give_up = time.monotonic() + ACK_WAIT
        while not self._journal.idle and time.monotonic() < min(deadline, give_up):
            if self._publisher.connected and self._journal.unsent:
                give_up = time.monotonic() + ACK_WAIT
            await asyncio.sleep(0.02)

    async def _report(self) -> None:
        spool_bytes = metrics.SPOOL_BYTES.gauge(self._registry)
        lag = metrics.LEDGER_LAG.gauge(self._registry)
        limits = metrics.LIMITS_UP.gauge(self._registry)
        circuits = Gauges(self._registry)
        while True:
            spool_bytes.set(self._journal.bytes_used)
            lag.set(self._journal.lag(time.monotonic()))
            limits.set(self._limits.life.state == "up")
            if self._traffic is not None:
                circuits.write(self._traffic.circuits)
            self._tell()
            await asyncio.sleep(STATUS_EVERY)

    def _tell(self) -> None:
        if self._traffic is None:
            return
        line = Status(
            port=self._traffic.port,
            redis=self._identities.redis_state,
            limits=self._limits.life.state,
            kafka="up" if self._publisher.connected else "down",
            spool="full" if self._recorder.full() is not None else "ok",
            draining=self._draining,
            upstream=self._upstream_healthy(),
            model=self._traffic.model,
            short_circuit=any(circuit.open for circuit in self._traffic.circuits.values()),
        )
        os.write(self._start.status_descriptor, status.encode(line) + b"\n")

    def _upstream_healthy(self) -> bool | None:
        """Return whether every upstream is healthy; None while that is not known, and in workers that do not look."""
        known = [sampler.healthy for sampler in self._samplers]
        return None if not known or None in known else all(known)


async def _either(stop: asyncio.Event, serving: "asyncio.Task[None]") -> None:
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, serving}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


def main() -> int:
    """Run the worker that standard input describes. Returns the exit status: 2 when it cannot start as it is told to."""
    start = status.start_decoder.decode(sys.stdin.buffer.read())
    _die_with_parent(start.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; the parent ends us in order
    settings = start.settings
    logs.configure(settings.log_level, "proxy")
    structlog.contextvars.bind_contextvars(instance=settings.instance, worker=start.number)
    sys.setswitchinterval(_SWITCH_SECONDS)  # threads here wait for the disk; the event loop must get its turn back soon
    try:
        worker = Worker(start)
    except (OSError, msgspec.DecodeError) as error:
        _log.error("cannot open the spool", spool_dir=settings.spool_dir, error=str(error))
        return 2
    try:
        uvloop.run(worker.run())
    except BaseExceptionGroup:
        _log.exception("worker failed")
        return 1
    return 0


def _die_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent is gone, however it went: an orphan would hold the port for ever."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
