"""The process's traffic side: mitmproxy's `Master` with a server mode of our own, on the running (uv)loop."""

from collections.abc import Callable
from typing import Protocol

from prometheus_client import CollectorRegistry

from proxy.config import TrafficConfig
from proxy.ports import KeyDirectory, Recorder


class Traffic(Protocol):
    """A serving traffic side, as the process around it sees it."""

    @property
    def port(self) -> int:
        """Return the port that is listened on (chosen by the system when the configured one is 0)."""

    @property
    def in_flight(self) -> int:
        """Return how many requests were forwarded and not yet answered."""

    @property
    def model(self) -> str | None:
        """Return the first model that the upstream serves, or None while that is not known."""

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let what runs finish for at most `seconds`, cut the rest (`proxy_lost`); `serve` then returns."""

    def reload(self) -> None:
        """Read again what can change while serving (SIGHUP): the upstream's list of models."""


async def serve(
    config: TrafficConfig,
    recorder: Recorder,
    directory: KeyDirectory,
    registry: CollectorRegistry,
    started: Callable[[Traffic], None],
) -> None:
    """Serve until drained. Run it on a uvloop loop, one call a process.

    `started` is called once, when the port is open. The caller keeps the `Traffic` and calls `drain` on SIGTERM.
    Several processes may serve the same port (`reuse_port`). Raises OSError when the port is taken.
    """
    raise NotImplementedError
