"""The parent of the worker processes: starts them on one port, restarts those that die, ends them in order.

It serves no request and imports no traffic code, so that it is small and nothing a client sends can bring it down.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import multiprocess

from proxy import status
from proxy.plain import Plain
from proxy.queue.shared import Shared
from proxy.status import METRICS_VARIABLE, CannotStartError, Start, Status

KILL_AFTER: Final = 5.0
"""Seconds over the grace time before a worker that does not end is killed."""
WRONG_USE: Final = 2
_PAUSE_LEAST, _PAUSE_MOST = 0.1, 5.0
_STEADY: Final = 10.0
_log = structlog.get_logger(__name__)


class Workers:
    """The worker processes of one proxy. `metrics_folder` is where they keep their counters."""

    def __init__(self, settings: Plain, listen: tuple[str, int]) -> None:
        self.statuses: dict[int, Status] = {}
        """By worker number; one that is not there does not serve."""
        self.metrics_folder = Path(tempfile.mkdtemp(prefix="weighbridge-metrics-"))
        self._settings, self._listen = settings, listen
        self._processes: dict[int, Process] = {}
        self._served = False
        self._drain = asyncio.Event()
        self._shared = Shared(len(settings.each()), settings.workers, settings.queue_length, settings.capacity)

    @property
    def draining(self) -> bool:
        """Return whether the workers were told to end."""
        return self._drain.is_set()

    @property
    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return [process.pid for process in self._processes.values()]

    async def run(self) -> None:
        """Keep the workers running; returns when they ended after `drain`. Raises CannotStartError when one cannot start."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(1, self._settings.workers + 1):
                    tasks.create_task(self._keep(number))
        except* CannotStartError as errors:
            raise errors.exceptions[0] from None
        finally:
            self.signal(signal.SIGKILL)
            shutil.rmtree(self.metrics_folder, ignore_errors=True)
            self._shared.close()

    def drain(self) -> None:
        """Have all workers finish what runs, deliver it, and end."""
        self._drain.set()
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send all workers a signal."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, number: int) -> None:
        pause = _PAUSE_LEAST
        while not self._drain.is_set():
            began = time.monotonic()
            code = await self._run_one(number)
            if code == WRONG_USE and not self._served:
                raise CannotStartError(f"worker {number} could not start; it said why above")
            if self._drain.is_set():
                return
            pause = _PAUSE_LEAST if time.monotonic() - began > _STEADY else min(2 * pause, _PAUSE_MOST)
            _log.error("worker died", worker=number, exit_status=code, restart_in=pause)
            await asyncio.sleep(pause)

    async def _run_one(self, number: int) -> int:
        reading, writing = os.pipe()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "proxy.worker",
            stdin=PIPE,
            pass_fds=(writing, *self._shared.files, *self._shared.bells),
            env={**os.environ, METRICS_VARIABLE: str(self.metrics_folder)},
        )
        os.close(writing)
        self._processes[number] = process
        try:
            start = Start(
                settings=self._settings,
                number=number,
                listen=self._listen,
                status_descriptor=writing,
                parent=os.getpid(),
                queues=self._shared.files,
                bells=self._shared.bells,
            )
            assert process.stdin is not None
            process.stdin.write(status.encode(start))
            process.stdin.close()
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen_to(number, reading))
                code = await process.wait()
                await listening
            return code
        finally:
            self.statuses.pop(number, None)
            if process.returncode is not None:
                self._shared.clear(number - 1)
                del self._processes[number]
                multiprocess.mark_process_dead(process.pid, str(self.metrics_folder))  # type: ignore[no-untyped-call]

    async def _listen_to(self, number: int, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        with os.fdopen(descriptor, "rb") as pipe:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
            while line := await reader.readline():
                self.statuses[number] = status.status_decoder.decode(line)
                self._served = True
                if self.draining and not self.statuses[number].draining:
                    self.signal(signal.SIGTERM)  # it started as we began to drain
            transport.close()
