"""Clients that ask for a stream and read nothing of it, while the upstream writes as fast as it is let."""

import socket
import time
from contextlib import ExitStack
from typing import Final

from benchmarks.contestants import Start, nginx, upstream
from benchmarks.findings import Findings, Goal, mega, table
from benchmarks.load import LoadError, wrk
from benchmarks.processes import HOST, Contestant
from benchmarks.stand import Stand
from benchmarks.stream_load import bodies
from benchmarks.streaming import INJECTED
from benchmarks.upstream import stream
from benchmarks.weighbridge import weighbridge

CLIENTS, CHUNKS = 10, 1000
STILL_SECONDS: Final = 4.0
"""How long nobody reads: the upstream could write a gigabyte in it."""
MOST_MB = 1.0


def run(stand: Stand) -> Findings:
    """Measure nginx and the proxy."""
    size = stand.plan.flood_bytes
    starts: tuple[Start, ...] = (nginx, weighbridge)
    added = {}
    event = stream(1, continuous=False, total=False).events[0].splitlines()[1]  # as the client sees it, without framing
    with upstream(stand.folder, CHUNKS, 0, size // (CHUNKS * len(event)) + 1) as flood:
        for start in starts:
            with stand.running(start, flood.port) as contestant:
                added[contestant.name] = measure(contestant, size)
    return tell(added, size)


def measure(contestant: Contestant, size: int) -> float:
    """Return the bytes of memory that a client adds; then read one stream, which must be whole: it had only waited."""
    wrk(contestant.port, 32, 1, contestant.key)  # warms caches and connections
    contestant.let_finish()
    before = contestant.resident_bytes()
    request = bodies(contestant.key)[INJECTED]
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((HOST, contestant.port))) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(request)
        time.sleep(STILL_SECONDS)
        added = (contestant.resident_bytes() - before) / CLIENTS
        for client in clients[1:]:
            client.close()
        _read_all(clients[0], size)
    return added


def _read_all(client: socket.socket, size: int) -> None:
    client.settimeout(10)
    received, tail = 0, b""
    while not tail.endswith(b"0\r\n\r\n"):
        data = client.recv(1 << 20)
        received += len(data)
        tail = (tail + data)[-16:]
        if not data:
            raise LoadError(f"a stream broke after {received} bytes: {tail!r}")
    if received < size:
        raise LoadError(f"a stream of {size} bytes ended after {received}")


def tell(added: dict[str, float], size: int) -> Findings:
    """Return the table and the goal; `added`: bytes a client, by contestant."""
    rows = [[name, mega(each)] for name, each in added.items()]
    text = (
        f"{CLIENTS} clients each ask for a stream of {size / 1e6:.0f} MB and read nothing for {STILL_SECONDS:.0f} s;\n"
        "then one reads it to its end."
    )
    goal = Goal("added by a client that reads nothing", "≤", MOST_MB, " MB", added["weighbridge"] / 1e6)
    return Findings(f"{table(['', 'added by a client'], rows)}\n\n{text}", [goal])
