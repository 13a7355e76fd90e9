"""How much memory ten thousand open streams take."""

import asyncio
import resource
from dataclasses import dataclass
from typing import Final, cast

import uvloop

from benchmarks.contestants import Start, nginx, upstream
from benchmarks.findings import Findings, Goal, mega, table
from benchmarks.load import LoadError
from benchmarks.processes import HOST, Contestant
from benchmarks.stand import Stand
from benchmarks.stream_load import bodies
from benchmarks.streaming import INJECTED
from benchmarks.weighbridge import weighbridge

GAP: Final = 10.0
"""Seconds between two events of a stream: the streams are open and alive, but not what keeps the machine busy."""
AT_ONCE: Final = 100
"""Streams that are being opened at the same time."""
OTHERS: Final = 250
"""Files that a proxy has open beside those of its streams, at most."""
MOST_MB = 150.0


@dataclass(frozen=True)
class Held:
    """Of one contestant: streams that were open, and resident bytes before, with them, and after they were gone."""

    name: str
    streams: int
    before: int
    during: int
    after: int

    @property
    def each(self) -> float:
        """Return the bytes that a stream takes."""
        return (self.during - self.before) / self.streams

    def at(self, streams: int) -> float:
        """Return the resident bytes with so many streams."""
        return self.during + self.each * (streams - self.streams)


def possible(wanted: int, open_files: int) -> int:
    """Return how many streams a process can have open: each takes a file towards the client and one towards vLLM."""
    return min(wanted, (open_files - OTHERS) // 2)


def run(stand: Stand) -> Findings:
    """Measure nginx and the proxy."""
    wanted = stand.plan.open_streams
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = possible(wanted, most_files)
    starts: tuple[Start, ...] = (nginx, weighbridge)
    results = []
    with upstream(stand.folder, 64, GAP) as target:
        for start in starts:
            with stand.running(start, target.port) as contestant:
                results.append(measure(contestant, count, stand.plan.open_seconds))
    return tell(results, wanted, most_files)


def measure(contestant: Contestant, count: int, seconds: float) -> Held:
    """Open streams and keep them open for a while."""
    request = bodies(contestant.key)[INJECTED]
    uvloop.run(_hold(contestant, request, AT_ONCE, 0.5))  # warms caches
    contestant.let_finish()
    before = contestant.resident_bytes()
    during = uvloop.run(_hold(contestant, request, count, seconds))
    contestant.let_finish()
    return Held(contestant.name, count, before, during, contestant.resident_bytes())


async def _hold(contestant: Contestant, request: bytes, count: int, seconds: float) -> int:
    """Return the resident bytes of the contestant; raises LoadError unless every stream began and none ended."""
    loop = asyncio.get_running_loop()
    opening = asyncio.Semaphore(AT_ONCE)
    clients = []

    async def open_one() -> None:
        async with opening:
            _, client = await loop.create_connection(lambda: _Client(request), HOST, contestant.port)
            clients.append(client)
            async with asyncio.timeout(30):
                await client.began

    await asyncio.gather(*(open_one() for _ in range(count)))
    await asyncio.sleep(seconds)
    resident = contestant.resident_bytes()
    broken = [client.ended for client in clients if client.ended]
    if broken:
        raise LoadError(f"{len(broken)} of {count} open streams ended: {broken[0]!r}")
    for client in clients:
        client.close()
    return resident


class _Client(asyncio.Protocol):
    """A client with one stream. `began`: done with its first event."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._last = b""
        self.began = asyncio.get_running_loop().create_future()
        self.ended = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._last = data
        if b"data: " in data and not self.began.done():
            self.began.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = self._last or b"no answer"
        if not self.began.done():
            self.began.set_exception(LoadError(f"a stream did not begin: {exc or self.ended!r}"))

    def close(self) -> None:
        self._transport.abort()


def tell(results: list[Held], wanted: int, open_files: int) -> Findings:
    """Return the table and the goal; `open_files`: the most that a process may have on this machine."""
    rows = [
        [
            each.name,
            f"{each.streams:,}",
            *map(mega, (each.before, each.during, each.after)),
            f"{each.each / 1e3:.1f} kB",
        ]
        for each in results
    ]
    ours = next(each for each in results if each.name == "weighbridge")
    text = f"All streams are open at the same time and get an event every {GAP:.0f} s; no one broke."
    if ours.streams < wanted:
        text += (
            f"\nA process may have {open_files:,} files open here and a stream takes two, so there were {ours.streams:,};\n"
            f"the goal's figure is what {wanted:,} would take, at as much for each."
        )
    head = ["", "open streams", "resident before", "with them", "after", "a stream"]
    goal = Goal(f"resident at {wanted:,} open streams", "≤", MOST_MB, " MB", ours.at(wanted) / 1e6)
    return Findings(f"{table(head, rows)}\n\n{text}", [goal])
