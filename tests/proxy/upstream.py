"""A raw server in vLLM's place: it sends exactly the bytes that a test tells it to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

MODELS = b'{"object":"list","data":[{"id":"tiny","parent":null},{"id":"adapter","parent":"tiny"}]}'


class Got(msgspec.Struct):
    """A request as it came."""

    head: bytes
    body: bytes
    connection: int

    @property
    def path(self) -> bytes:
        return self.head.split(b" ")[1]


Piece = bytes | float | asyncio.Event | None
"""Bytes to send, seconds to wait, what has to happen first, or None: close the connection."""
Answerer = Callable[[Got], list[Piece]]


def plain(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"content-type: application/json", *fields, b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", body])


class RawUpstream:
    """`got` holds the requests but those for the models; `ended` is set when a client's connection ends early."""

    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self.models: bytes | None = MODELS
        self.got: list[Got] = []
        self.ended = asyncio.Event()
        self.sent = self.taken = 0
        self.port = 0
        self.connections = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def body(self, reader: asyncio.StreamReader, head: bytes, length: list[bytes]) -> bytes:
        if b"transfer-encoding: chunked" not in head:
            return await reader.readexactly(int(length[0][15:])) if length else b""
        pieces = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
            self.taken += size
        await reader.readexactly(2)
        return b"".join(pieces)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        number = self.connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await self.body(reader, head.lower(), length)
                got = Got(head, body, number)
                if got.path == b"/v1/models" and self.models is not None:
                    pieces: list[Piece] = [plain(self.models)]
                else:
                    self.got.append(got)
                    pieces = self.answer(got)
                for piece in pieces:
                    if reader.at_eof():  # like uvicorn: who closes one direction has left
                        self.ended.set()
                        return
                    if piece is None:
                        return
                    if isinstance(piece, asyncio.Event):
                        await piece.wait()
                    elif isinstance(piece, float):
                        await asyncio.sleep(piece)
                    else:
                        writer.write(piece)
                        await writer.drain()
                        self.sent += len(piece)
        except asyncio.IncompleteReadError:
            pass
        except ConnectionError:
            self.ended.set()
        except asyncio.CancelledError:  # the test is over
            pass
        finally:
            writer.close()
            self.tasks.discard(task)


@asynccontextmanager
async def upstream(answer: Answerer, secure: ssl.SSLContext | None = None) -> AsyncIterator[RawUpstream]:
    """Run one on a free port."""
    raw = RawUpstream(answer)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0, ssl=secure)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        for task in list(raw.tasks):
            task.cancel()
        await asyncio.gather(*raw.tasks)
