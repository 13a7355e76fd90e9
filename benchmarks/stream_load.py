"""The load of streams: clients of our own that read them to their end."""

import asyncio
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Final

import uvloop

from benchmarks.load import LoadError, post
from benchmarks.processes import HOST

_MESSAGES: Final = b'{"model":"tiny","messages":[{"role":"user","content":"hello"}],"max_tokens":64,"stream":true'
BARE: Final = _MESSAGES + b"}"
"""Asks for no usage: the proxy asks for it, and takes it out again."""
CONTINUOUS: Final = _MESSAGES + b',"stream_options":{"include_usage":true,"continuous_usage_stats":true}}'
"""Asks for usage in every event: nothing is taken out."""


@dataclass(frozen=True)
class Streams:
    """What streaming clients saw: events in all, and the median time to the first one in seconds."""

    events: int
    first: float


def streams(port: int, request: bytes, concurrency: int, each: int) -> Streams:
    """Read streams to their end, `concurrency` at a time, `each` on every connection; raises LoadError when one breaks."""
    return uvloop.run(_streams(port, request, concurrency, each))


def bodies(key: str) -> dict[str, bytes]:
    """Return the requests: by what becomes of the usage."""
    return {"injected and stripped": post(BARE, key), "as the client asked": post(CONTINUOUS, key)}


async def _streams(port: int, request: bytes, concurrency: int, each: int) -> Streams:
    firsts: list[float] = []

    async def client() -> int:
        reader, writer = await asyncio.open_connection(HOST, port)
        events = 0
        for _ in range(each):
            begun = perf_counter()
            writer.write(request)
            await writer.drain()
            tail, first = b"", None
            while not tail.endswith(b"0\r\n\r\n"):
                data = await reader.read(1 << 16)
                if not data:
                    raise LoadError(f"a stream broke: {tail!r}")
                count = data.count(b"data: ")
                if first is None and count:
                    first = perf_counter() - begun
                    firsts.append(first)
                events += count
                tail = (tail + data)[-16:]
        writer.close()
        return events

    counts = await asyncio.gather(*(client() for _ in range(concurrency)))
    return Streams(sum(counts), median(firsts))
