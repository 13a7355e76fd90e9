"""An HTTP/2 client that does what a test says, frame by frame."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h2.connection
import h2.events
from h2.config import H2Configuration
from h2.exceptions import ProtocolError

from tests.proxy.fakes import KEY

Fields = list[tuple[bytes, bytes]]


class Stream:
    """What came back on one stream."""

    def __init__(self) -> None:
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.body = b""
        self.ended = asyncio.Event()
        self.reset: int | None = None

    @property
    def whole(self) -> bool:
        return self.ended.is_set() and self.reset is None


class Client:
    """One connection. `greedy`: windows are opened again for what was read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = h2.connection.H2Connection(H2Configuration(header_encoding=False, validate_outbound_headers=False))
        self.streams: defaultdict[int, Stream] = defaultdict(Stream)
        self.greedy = True
        self.goodbye: h2.events.ConnectionTerminated | None = None
        self.closed = asyncio.Event()
        self._reader, self.writer = reader, writer
        self.h2.initiate_connection()
        self.flush()
        self._reading = asyncio.create_task(self._read())

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def ask(
        self,
        path: bytes = b"/v1/chat/completions",
        body: bytes | None = None,
        *fields: tuple[bytes, bytes],
        method: bytes = b"POST",
        key: bytes | None = KEY,
        end: bool = True,
    ) -> int:
        """Send a request; return its stream's id."""
        number: int = self.h2.get_next_available_stream_id()
        head = [(b":method", method), (b":scheme", b"http"), (b":authority", b"llm.example"), (b":path", path)]
        head.append((b"content-type", b"application/json"))
        if key is not None:
            head.append((b"authorization", b"Bearer " + key))
        self.h2.send_headers(number, [*head, *fields], end_stream=body is None and end)
        if body is not None:
            self.h2.send_data(number, body, end_stream=end)
        self.flush()
        return number

    async def answer(self, number: int) -> Stream:
        """Wait for the end of an answer."""
        async with asyncio.timeout(120):
            await self.streams[number].ended.wait()
        return self.streams[number]

    async def got(self, number: int, size: int) -> bytes:
        """Wait until that many bytes of a body came."""
        async with asyncio.timeout(120):
            while len(self.streams[number].body) < size:
                await asyncio.sleep(0.01)
        return self.streams[number].body

    async def close(self) -> None:
        self._reading.cancel()
        self.writer.close()

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                for event in self.h2.receive_data(data):
                    self._take(event)
                self.flush()
        except (ConnectionError, ProtocolError):  # h2 takes nothing after a GOAWAY
            pass
        self.closed.set()
        for stream in self.streams.values():
            if not stream.ended.is_set():
                stream.reset = -1
                stream.ended.set()

    def _take(self, event: object) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            stream = self.streams[event.stream_id]
            stream.fields = dict(event.headers)
            stream.status = int(stream.fields.pop(b":status"))
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            if self.greedy:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.streams[event.stream_id].ended.set()
        elif isinstance(event, h2.events.StreamReset):
            stream = self.streams[event.stream_id]
            if not stream.ended.is_set():
                stream.reset = event.error_code
                stream.ended.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goodbye = event


@asynccontextmanager
async def client(port: int, secure: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """Connect to a port of this machine."""
    name = "localhost" if secure is not None else None
    connected = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=secure, server_hostname=name))
    try:
        yield connected
    finally:
        await connected.close()
