"""What a worker process tells its parent, a line of JSON at a time, and how the parent tells a worker what to do."""

from typing import Any, Literal

import msgspec

RedisState = Literal["up", "rebuilding", "down"]


class Start(msgspec.Struct, frozen=True):
    """What a worker reads from its standard input: it holds secrets, which others could see on a command line."""

    settings: dict[str, Any]
    number: int
    listen: tuple[str, int]
    status_descriptor: int
    parent: int


class Status(msgspec.Struct, frozen=True):
    """How a worker is."""

    port: int
    redis: RedisState
    kafka: Literal["up", "down"]
    spool: Literal["ok", "full"]
    in_flight: int
    draining: bool
    model: str | None = None


encode = msgspec.json.encode
start_decoder = msgspec.json.Decoder(Start)
status_decoder = msgspec.json.Decoder(Status)
