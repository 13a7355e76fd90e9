"""What a worker process tells its parent, a line of JSON at a time, and how the parent tells a worker what to do."""

from typing import Final, Literal

import msgspec

from proxy.plain import Plain

METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder of the metrics that the workers share, as prometheus_client reads it."""
RedisState = Literal["up", "rebuilding", "down"]


class CannotStartError(Exception):
    """The proxy cannot start as it is told to; the message names the setting. Exit status 2."""


class Start(msgspec.Struct, frozen=True):
    """What a worker reads from its standard input: it holds secrets, which others could see on a command line."""

    settings: Plain
    number: int
    listen: tuple[str, int]
    status_descriptor: int
    parent: int
    queues: tuple[int, ...]
    """Open files: the board of each upstream, see `proxy.queue.shared`."""
    bells: tuple[int, ...]
    """Open files: the bell of each worker."""


class Status(msgspec.Struct, frozen=True):
    """How a worker is."""

    port: int
    redis: RedisState
    limits: RedisState
    kafka: Literal["up", "down"]
    spool: Literal["ok", "full"]
    draining: bool
    upstream: bool | None
    """The last answer of the upstream's health check; None in all workers but the one that asks, and before it did."""
    model: str | None = None
    short_circuit: bool = False
    """No connection to an upstream comes about, and requests are answered 502 at once."""


encode = msgspec.json.encode
start_decoder = msgspec.json.Decoder(Start)
status_decoder = msgspec.json.Decoder(Status)
