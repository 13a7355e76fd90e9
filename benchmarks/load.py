"""The load: wrk for whole answers, a small client of our own for streams."""

import asyncio
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import uvloop

PATH = "/v1/chat/completions"
SCRIPT = Path(__file__).with_name("post.lua")
STREAM_BODY = (
    b'{"model":"tiny","messages":[{"role":"user","content":"hello"}],"max_tokens":64,"stream":true,'
    b'"stream_options":{"include_usage":true}}'
)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class LoadError(Exception):
    """The load did not run as it should: answers were missing or wrong."""


@dataclass(frozen=True)
class Wrk:
    """What wrk measured: requests a second, and the median and 99th percentile of the latency in seconds."""

    rate: float
    p50: float
    p99: float


def wrk(port: int, connections: int, seconds: int, key: str, new_connections: bool = False) -> Wrk:
    """Send the same request over and over; raises LoadError when an answer is no 200."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(SCRIPT)]
    environment = {**os.environ, "KEY": key, "CLOSE": "1" if new_connections else "0"}
    ran = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{PATH}"], env=environment, capture_output=True, text=True, check=False
    )
    return read_wrk(ran.stdout + ran.stderr)


def read_wrk(output: str) -> Wrk:
    """Read what wrk printed."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    times = dict(re.findall(r"(50|99)%\s+([\d.]+(?:us|ms|s))", output))
    if rate is None or set(times) != {"50", "99"} or "Non-2xx" in output:
        raise LoadError(f"wrk did not get what it asked for:\n{output}")
    return Wrk(float(rate[1]), _seconds(times["50"]), _seconds(times["99"]))


def _seconds(text: str) -> float:
    number = re.match(r"[\d.]+", text)
    assert number
    return float(number[0]) * _UNITS[text[number.end() :]]


@dataclass(frozen=True)
class Streams:
    """What streaming clients saw: events in all, and the median time to the first one in seconds."""

    events: int
    first: float


def streams(port: int, concurrency: int, each: int, key: str) -> Streams:
    """Read streams to their end, `concurrency` at a time, `each` on every connection; raises LoadError when one breaks."""
    return uvloop.run(_streams(port, concurrency, each, key))


async def _streams(port: int, concurrency: int, each: int, key: str) -> Streams:
    head = f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    request = f"{head}Content-Length: {len(STREAM_BODY)}\r\n\r\n".encode() + STREAM_BODY
    firsts: list[float] = []

    async def client() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
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
