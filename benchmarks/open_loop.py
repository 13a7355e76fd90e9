"""A load at a constant rate: requests are sent when their time has come, whatever became of those before.

A client that waits for an answer before it sends the next request measures a server that stalls once, once. Here the time of
every request is fixed beforehand, and its latency counts from that time, also when all connections were busy at it.
"""

import select
import socket
from time import perf_counter

from benchmarks.load import LoadError
from benchmarks.processes import HOST

PATIENCE = 10.0
"""Seconds without an answer after which something is wrong."""


class _Connection:
    """One connection; a request at a time. `intended` is when the one under way should have been sent."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.intended = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, request: bytes, intended: float) -> None:
        self.intended = intended
        self._socket.sendall(request)

    def read(self) -> bool:
        """Read what came; returns whether the answer is whole. Raises LoadError when it is no 200."""
        data = self._socket.recv(1 << 16)
        self._received += data
        if not data or not self._received.startswith(b"HTTP/1.1 200 "[: len(self._received)]):
            raise LoadError(f"no answer to a request at a constant rate: {self._received[:200]!r}")
        if not whole(self._received):
            return False
        self._received = b""
        return True

    def close(self) -> None:
        self._socket.close()


def whole(answer: bytes) -> bool:
    """Whether an answer with a Content-Length is there to its end."""
    head, end, body = answer.partition(b"\r\n\r\n")
    _, found, length = head.lower().partition(b"\r\ncontent-length:")
    return bool(end and found) and len(body) >= int(length.split(b"\r\n", 1)[0])


def steady(port: int, request: bytes, rate: float, seconds: float, connections: int) -> list[float]:
    """Send `rate` requests a second for `seconds`; return the latency of each in seconds.

    Raises LoadError when an answer is no 200 or does not come.
    """
    idle = [_Connection(port) for _ in range(connections)]
    everyone = list(idle)
    try:
        return _paced(idle, request, rate, round(rate * seconds))
    finally:
        for connection in everyone:
            connection.close()


def _paced(idle: list[_Connection], request: bytes, rate: float, total: int) -> list[float]:
    busy: set[_Connection] = set()
    latencies: list[float] = []
    sent, begun = 0, perf_counter()
    while len(latencies) < total:
        now = perf_counter()
        while sent < total and idle and (intended := begun + sent / rate) <= now:
            connection = idle.pop()
            connection.send(request, intended)
            busy.add(connection)
            sent += 1
        waits_for_time = sent < total and bool(idle)
        wait = max(0.0, begun + sent / rate - perf_counter()) if waits_for_time else PATIENCE
        readable, _, _ = select.select(busy, [], [], wait)  # to the microsecond, where epoll counts milliseconds
        if not readable and not waits_for_time:
            raise LoadError(f"no answer within {PATIENCE:.0f} s at a constant rate")
        for connection in readable:
            if connection.read():
                latencies.append(perf_counter() - connection.intended)
                busy.discard(connection)
                idle.append(connection)
    return latencies
