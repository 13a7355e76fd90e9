"""The processes that are measured: started for a block, each on a free port, and gone at its end."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

HOST = "127.0.0.1"
ROOT = Path(__file__).parent.parent
START_WITHIN = 300.0
QUIET_SHARE, QUIET_SECONDS, QUIET_WITHIN = 0.05, 0.5, 60.0


@dataclass(frozen=True)
class Contestant:
    """A running proxy (or the upstream itself): where it listens, and its process, whose CPU and memory count."""

    name: str
    port: int
    process: psutil.Process | None
    key: str = "none"

    def processes(self) -> list[psutil.Process]:
        """The process and its children."""
        return [] if self.process is None else [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """CPU used so far."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(time.user + time.system for time in times)

    def resident_bytes(self) -> int:
        """Memory that is resident, mapped files included; what processes share is counted once."""
        return sum(process.memory_full_info().pss for process in self.processes())

    def let_finish(self) -> None:
        """Wait until it is quiet: what it still has to do after its answers belongs to what they cost."""
        give_up = time.monotonic() + QUIET_WITHIN
        while time.monotonic() < give_up:
            before = self.cpu_seconds()
            time.sleep(QUIET_SECONDS)
            if self.cpu_seconds() - before < QUIET_SHARE * QUIET_SECONDS:
                return


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something takes connections on a port."""
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def started(
    command: list[str], log: Path, ready: Callable[[], bool], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; raises RuntimeError with its output when it does not come up within five minutes."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + START_WITHIN
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.05)
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started: an engine that has just been started does not notice that its server is gone."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(children, 5)
    for child in left:
        with suppress(psutil.NoSuchProcess):
            child.kill()
