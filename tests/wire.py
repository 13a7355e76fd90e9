"""Raw HTTP/1.1 for tests that look at bytes: what was sent stays as written, what came is taken apart as little as possible."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class Answer:
    """A response: headers in order with names as they came, the body without chunked framing, and its chunks."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """Return the first header of that name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1") -> "Wire":
        """Connect."""
        return cls(*await asyncio.open_connection(host, port))

    async def send(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        """Send a request; the headers must already say how long the body is."""
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        self.writer.write("\r\n".join(lines).encode("latin-1") + body)
        await self.writer.drain()

    async def post(self, path: str, body: bytes, *headers: tuple[str, str]) -> Answer:
        """Send a JSON body and return the answer."""
        length = [("Host", "test"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        await self.send("POST", path, [*length, *headers], body)
        return await self.receive()

    async def head(self) -> Answer:
        """Read the status line and the headers."""
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = raw.rstrip("\r\n").split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        return Answer(int(status.split(" ")[1]), [(name, value) for name, value in pairs])

    async def receive(self, method: str = "POST") -> Answer:
        """Read a whole answer."""
        answer = await self.head()
        if answer.header("transfer-encoding") == "chunked":
            while chunk := await self.chunk():
                answer.chunks.append(chunk)
            answer.body = b"".join(answer.chunks)
        elif method != "HEAD":
            length = answer.header("content-length")
            answer.body = await (self.reader.read() if length is None else self.reader.readexactly(int(length)))
        return answer

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked body; empty at its end."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        chunk = await self.reader.readexactly(size)
        await self.reader.readexactly(2)
        return chunk

    async def close(self) -> None:
        """Close in order."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:  # the other side was faster
            return

    def reset(self) -> None:
        """Close without a word more: what was not yet sent is dropped."""
        self.writer.transport.abort()
