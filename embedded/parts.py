"""The vocabulary of the supervisor: a part is a process, and how to see that it is ready. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Probe:
    """A part is ready when its port takes a connection and, where something is said, answers with what is awaited."""

    port: int
    say: bytes = b""
    hear: bytes = b""

    @classmethod
    def http(cls, port: int, path: str) -> "Probe":
        """Ready when a GET of `path` answers 200."""
        return cls(port, f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode(), b" 200 ")

    @classmethod
    def redis(cls, port: int) -> "Probe":
        """Ready when Redis has read its files and takes commands."""
        return cls(port, b"PING\r\n", b"+PONG")


@dataclass(frozen=True)
class Part:
    """A process to keep running.

    `kind` groups parts for `pids` in endpoints.json. `needs` names parts without whose memory this one cannot go on: it is
    ended with them and starts again when they are back. `environment` is added to the supervisor's own.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    probe: Probe | None = None
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
