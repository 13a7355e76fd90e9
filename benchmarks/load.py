"""The load of whole answers: wrk, as many as can be had."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import HOST

PATH = "/v1/chat/completions"
SCRIPT = Path(__file__).with_name("post.lua")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class LoadError(Exception):
    """The load did not run as it should: answers were missing or wrong."""


@dataclass(frozen=True)
class Wrk:
    """What wrk measured: requests a second and in all, and the median and 99th percentile of the latency in seconds."""

    rate: float
    requests: int
    p50: float
    p99: float


def wrk(port: int, connections: int, seconds: int, key: str, new_connections: bool = False) -> Wrk:
    """Send the same request over and over; raises LoadError when an answer is no 200."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(SCRIPT)]
    environment = {**os.environ, "KEY": key, "CLOSE": "1" if new_connections else "0"}
    ran = subprocess.run(
        [*command, f"http://{HOST}:{port}{PATH}"], env=environment, capture_output=True, text=True, check=False
    )
    return read_wrk(ran.stdout + ran.stderr)


def read_wrk(output: str) -> Wrk:
    """Read what wrk printed."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    requests = re.search(r"(\d+) requests in", output)
    times = dict(re.findall(r"(50|99)%\s+([\d.]+(?:us|ms|s))", output))
    if rate is None or requests is None or int(requests[1]) == 0 or set(times) != {"50", "99"} or "Non-2xx" in output:
        raise LoadError(f"wrk did not get what it asked for:\n{output}")
    return Wrk(float(rate[1]), int(requests[1]), _seconds(times["50"]), _seconds(times["99"]))


def _seconds(text: str) -> float:
    number = re.match(r"[\d.]+", text)
    assert number
    return float(number[0]) * _UNITS[text[number.end() :]]


def post(body: bytes, key: str) -> bytes:
    """Return a request as our own clients send it."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
