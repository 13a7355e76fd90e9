"""Clients on plain sockets, so that each can leave at exactly the byte that it was told to."""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from tests.vllm.mix import Request

WAIT_SECONDS = 0.5
"""The longest that a client waits for a first byte that it then does not read."""


@dataclass(frozen=True)
class Seen:
    """What a client saw: the first bytes of the answer, whether it ended, and when the client left (`time.monotonic`)."""

    request: Request
    head: bytes
    ended: bool
    left_at: float | None


def written(request: Request, host: str, key: str) -> bytes:
    """Return a request's bytes. The header `X-Request-Id` says its number."""
    body = msgspec.json.encode(request.body)
    head = [
        f"POST {request.path} HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        "Connection: close",
        f"X-Request-Id: {request.number}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


async def send(request: Request, address: str, key: str) -> Seen:
    """Send it to a proxy and read the answer, as far as its cut lets it."""
    host = urlsplit(address).netloc
    name, _, port = host.partition(":")
    data, cut = written(request, host, key), request.cut
    reader, writer = await asyncio.open_connection(name, int(port))
    try:
        if cut is not None and cut.place == "sending":
            writer.write(data[: int(len(data) * cut.share)])
            return await leave(request, reader, writer, b"", ended=False)
        writer.write(data)
        if cut is None:
            answer = await reader.read(-1)
            return Seen(request, answer[:12], ended=True, left_at=None)
        if cut.place == "waiting":
            await asyncio.sleep(cut.share * WAIT_SECONDS)
            return await leave(request, reader, writer, b"", ended=False)
        limit = int(cut.share * request.size) if cut.place == "reading" else -1
        answer, ended = await _read(reader, limit)
        return await leave(request, reader, writer, answer, ended)
    finally:
        writer.close()


async def leave(
    request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes, ended: bool
) -> Seen:
    """End the connection, or only our direction of it; then read until the proxy ends the other one."""
    await writer.drain()
    left_at = time.monotonic()
    assert request.cut is not None
    if request.cut.half and not ended:
        writer.write_eof()
        await reader.read(-1)
    return Seen(request, answer[:12], ended, left_at)


async def _read(reader: asyncio.StreamReader, limit: int) -> tuple[bytes, bool]:
    """Return so many bytes (-1: all), and whether the connection ended before."""
    try:
        return await reader.readexactly(limit) if limit >= 0 else await reader.read(-1), limit < 0
    except asyncio.IncompleteReadError as error:
        return error.partial, True


async def send_all(requests: list[Request], address: str, embedder: str, key: str, at_once: int) -> list[Seen]:
    """Send all, so many at once; requests that embed go to `embedder`."""
    queue, seen = iter(requests), list[Seen]()

    async def client() -> None:
        for request in queue:
            one = await send(request, embedder if request.embeds else address, key)
            seen.append(one)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(client())
    return seen
