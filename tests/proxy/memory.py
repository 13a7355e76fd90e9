"""The fast lane without sockets: transports in memory, so that every byte boundary can be tried, and quickly."""

import asyncio
from typing import Any

import h11
from prometheus_client import CollectorRegistry

from contracts.events import UsageData
from proxy.config import TrafficConfig
from proxy.desk import Desk
from proxy.lane.client import ClientConnection
from proxy.lane.lane import Lane
from proxy.lane.pool import Pool
from proxy.lane.upstream import UpstreamConnection
from proxy.ports import Limits, Totals
from tests.proxy.fakes import KEY, MemoryDirectory, MemoryRecorder

SALT_KEY = b"salt-secret-of-the-tests"


def config(**changes: Any) -> TrafficConfig:
    values: dict[str, Any] = {
        "upstream": "http://127.0.0.1:1",
        "listen_host": "127.0.0.1",
        "listen_port": 0,
        "instance": "gpu-0",
        "cache_salt_key": SALT_KEY,
        "upstream_api_key": "key-of-vllm",
        "unsalted": "allow",
    }
    return TrafficConfig(**(values | changes))


class MemoryTransport:
    """Keeps what is written. `lost` runs what asyncio would call later."""

    def __init__(self, peer: str = "192.0.2.7") -> None:
        self.protocol: Any = None
        self.peer = peer
        self.written = bytearray()
        self.reading = True
        self.closing = self.aborted = self.ended = False

    def write(self, data: bytes) -> None:
        assert not self.ended, "written after the end"
        if not self.closing:
            self.written += data

    def take(self) -> bytes:
        data, self.written = bytes(self.written), bytearray()
        return data

    def get_extra_info(self, name: str) -> Any:
        return (self.peer, 4711) if name == "peername" else None

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def lose(self, error: Exception | None = None) -> None:
        """Let the connection end, as the loop would tell."""
        self.closing = True
        self.protocol.connection_lost(error)


async def _no_models() -> tuple[int, bytes]:
    raise OSError("not in memory")


class Bench:
    """A lane with one client and one kept connection to vLLM."""

    def __init__(
        self, kept: int = 1, limits: Limits | None = None, totals: Totals | None = None, **changes: Any
    ) -> None:
        self.recorder = MemoryRecorder()
        self.directory = MemoryDirectory()
        self.config = config(**changes)
        self.registry = CollectorRegistry()
        desk = Desk(self.config, self.recorder, self.directory, self.registry, _no_models, limits=limits, totals=totals)
        pool = Pool(self.config.address, None, 1.0)
        self.lane = Lane(config=self.config, desk=desk, pool=pool, clients=set(), emptied=asyncio.Event())
        self.upstreams: list[MemoryTransport] = []
        for _ in range(kept):
            self.keep_connection()
        self.client = self.connect()

    def keep_connection(self) -> MemoryTransport:
        """Put a connection into the pool."""
        transport = MemoryTransport()
        connection = UpstreamConnection(self.lane.pool)
        transport.protocol = connection
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection._served = 1
        connection.idle_since = float("inf")
        self.lane.pool.release(connection)
        self.upstreams.append(transport)
        return transport

    def connect(self) -> MemoryTransport:
        """Return a new client's side."""
        transport = MemoryTransport()
        transport.protocol = ClientConnection(self.lane, transport)  # type: ignore[arg-type]
        return transport

    @property
    def upstream(self) -> MemoryTransport:
        return self.upstreams[0]

    @property
    def usage(self) -> UsageData:
        """Return the one record of usage."""
        (usage,) = self.recorder.closes
        return usage

    def forget(self) -> None:
        """Drop what was written and recorded, for another request on the same connections."""
        self.client.take()
        self.upstream.take()
        self.recorder.decisions.clear()
        self.recorder.opens.clear()
        self.recorder.closes.clear()

    def send(self, data: bytes) -> None:
        """Let the client's bytes arrive."""
        self.client.protocol.data_received(data)

    def answer(self, *pieces: bytes) -> None:
        """Let vLLM's bytes arrive, piece by piece."""
        for piece in pieces:
            if piece:
                self.upstream.protocol.data_received(piece)


def post(path: str, body: bytes, *fields: bytes, key: bytes | None = KEY, version: bytes = b"1.1") -> bytes:
    """Return a POST request as a client would write it."""
    lines = [b"POST %b HTTP/%b" % (path.encode(), version), b"Host: llm.example", b"Content-Type: application/json"]
    if key is not None:
        lines.append(b"Authorization: Bearer " + key)
    return b"\r\n".join([*lines, *fields, b"Content-Length: %d" % len(body), b"", body])


def get(path: str, *fields: bytes, key: bytes | None = KEY) -> bytes:
    """Return a GET request."""
    lines = [b"GET %b HTTP/1.1" % path.encode(), b"Host: llm.example", *fields]
    if key is not None:
        lines.append(b"Authorization: Bearer " + key)
    return b"\r\n".join([*lines, b"", b""])


class Response:
    """What h11 made of some bytes."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, whole: bool) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.whole = whole

    def header(self, name: str) -> str | None:
        found = [value.decode() for key, value in self.headers if key.lower() == name.encode()]
        assert len(found) < 2, found
        return found[0] if found else None


def responses(data: bytes, closed: bool = False, method: str = "POST") -> list[Response]:
    """Parse what a client received with another parser than ours."""
    found = []
    while data:
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(data)
        if closed:
            parser.receive_data(b"")
        head, body, whole = None, b"", False
        while True:
            event = parser.next_event()
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                whole = True
                break
            elif event is h11.NEED_DATA:
                break
            else:
                assert isinstance(event, h11.InformationalResponse), event
        assert head is not None
        found.append(Response(head.status_code, list(head.headers.raw_items()), body, whole))
        data = bytes(parser.trailing_data[0]) if whole else b""
    return found
