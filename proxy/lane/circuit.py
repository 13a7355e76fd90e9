"""A short circuit: while no connection to the upstream comes about, requests are answered at once instead of waiting for one.

After `FAILURES` connections in a row failed, one attempt in `PAUSE_SECONDS` is made, and everybody else is told at once. The
first one that succeeds ends it. So a server that answers nobody costs no client the time to connect, and one that is back
serves again within `PAUSE_SECONDS`.
"""

import time
from collections.abc import Mapping
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from contracts import metrics
from contracts.events import Outcome

FAILURES: Final = 5
PAUSE_SECONDS: Final = 0.25
log = structlog.get_logger(__name__)


class OpenCircuitError(ConnectionError):
    """No connection is tried at the moment."""


class Circuit:
    """Of one upstream, in one process. Times are of `time.monotonic`."""

    __slots__ = ("_failures", "_place", "_until", "failed")

    def __init__(self, address: tuple[str, int]) -> None:
        self._place = "{}:{}".format(*address)
        self._failures = 0
        self._until = 0.0
        self.failed = 0
        """How many connections failed since the process began."""

    @property
    def open(self) -> bool:
        """Return whether requests are turned away now. When there are none for a while, nobody is."""
        return self._failures >= FAILURES and time.monotonic() < self._until

    def check(self) -> None:
        """Return if a connection may be tried. Raises OpenCircuitError."""
        if self._failures >= FAILURES:
            if self.open:
                raise OpenCircuitError("no connection is tried at the moment")
            self._until = time.monotonic() + PAUSE_SECONDS  # whoever comes next waits for what this one finds

    def note(self, error: OSError | None) -> None:
        """Take what became of an attempt; None: there is a connection."""
        if error is None:
            if self._failures >= FAILURES:
                log.info("the upstream can be reached again", upstream=self._place)
            self._failures = 0
            return
        self.failed += 1
        self._failures += 1
        if self._failures >= FAILURES:
            self._until = time.monotonic() + PAUSE_SECONDS
        if self._failures == FAILURES:
            log.error("the upstream cannot be reached: requests are answered 502 at once", upstream=self._place)


class Gauges:
    """The metrics of a process's circuits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._failures = metrics.CONNECT_FAILURES.counter(registry)
        self._open = metrics.SHORT_CIRCUIT.gauge(registry)
        self._written: dict[str, int] = {}

    def write(self, circuits: Mapping[str, Circuit]) -> None:
        """Write out what there is to say; `circuits` by the name of their upstream."""
        for name, circuit in circuits.items():
            self._failures.labels(name).inc(circuit.failed - self._written.get(name, 0))
            self._written[name] = circuit.failed
            self._open.labels(name).set(circuit.open)


def describe(error: OSError) -> tuple[Outcome, str, str]:
    """Return what becomes of a request without a connection: its outcome, and code and message of its answer."""
    if isinstance(error, TimeoutError):
        return "upstream_timeout", "upstream_timeout", "vLLM cannot be reached."
    if isinstance(error, OpenCircuitError):
        message = (
            f"vLLM cannot be reached: the last {FAILURES} connections or more failed. It is tried again all the time."
        )
        return "upstream_error", "upstream_unreachable", message
    return "upstream_error", "upstream_unreachable", "vLLM cannot be reached."
