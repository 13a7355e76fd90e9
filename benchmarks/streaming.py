"""What an event of a stream costs: few streams and many, usage asked for by the client, or by the proxy alone."""

from dataclasses import dataclass
from typing import Final

from benchmarks.contestants import Start, nginx, upstream
from benchmarks.findings import Findings, Goal, micro, milli, table
from benchmarks.processes import Contestant
from benchmarks.stand import Stand
from benchmarks.stream_load import bodies, streams
from benchmarks.weighbridge import weighbridge

CHUNKS: Final = 64
GAPS: Final = {32: 0.002, 500: 0.05}
"""How many streams at a time, and the seconds between two events of one: many streams must not ask for more than there is."""
INJECTED: Final = "injected and stripped"
MOST: Final = 1.6


@dataclass(frozen=True)
class Cost:
    """Of one contestant under one load: CPU an event and time to the first event in seconds."""

    name: str
    concurrency: int
    usage: str
    cpu_per_event: float
    first_event: float


def run(stand: Stand) -> Findings:
    """Measure nginx and the proxy under each load."""
    starts: tuple[Start, ...] = (nginx, weighbridge)
    results: list[Cost] = []
    for concurrency, gap in GAPS.items():
        each = max(1, stand.plan.events // (concurrency * CHUNKS))
        with upstream(stand.folder, CHUNKS, gap) as target:
            for start in starts:
                with stand.running(start, target.port) as contestant:
                    results += [
                        measure(contestant, concurrency, each, usage, request)
                        for usage, request in bodies(contestant.key).items()
                    ]
    return tell(results)


def measure(contestant: Contestant, concurrency: int, each: int, usage: str, request: bytes) -> Cost:
    """Read streams; all CPU until the contestant is quiet again counts."""
    streams(contestant.port, request, concurrency, 1)  # warms caches and connections
    contestant.let_finish()
    before = contestant.cpu_seconds()
    seen = streams(contestant.port, request, concurrency, each)
    contestant.let_finish()
    spent = contestant.cpu_seconds() - before
    return Cost(contestant.name, concurrency, usage, spent / seen.events, seen.first)


def tell(results: list[Cost]) -> Findings:
    """Return the table and the goals."""
    nginx_costs = {(each.concurrency, each.usage): each.cpu_per_event for each in results if each.name == "nginx"}
    ratios = [(each, each.cpu_per_event / nginx_costs[each.concurrency, each.usage]) for each in results]
    rows = [
        [
            each.name,
            f"{each.concurrency}",
            each.usage,
            micro(each.cpu_per_event),
            f"{ratio:.2f}",
            milli(each.first_event),
        ]
        for each, ratio in ratios
    ]
    goals = [
        Goal(f"CPU an event, {each.concurrency} streams, usage {each.usage}", "≤", MOST, " × nginx", ratio)
        for each, ratio in ratios
        if each.name == "weighbridge" and each.usage == INJECTED
    ]
    gaps = ", ".join(f"{gap * 1e3:.0f} ms with {concurrency} streams" for concurrency, gap in GAPS.items())
    text = (
        f"{CHUNKS} events a stream, one every {gaps}. CPU is user and system time of the proxy's\n"
        "processes, until it is quiet again, over the events that clients received. *Injected and stripped*: the client asks\n"
        "for no usage, so the proxy asks for it in every event and takes it out again; nginx passes on events without any."
    )
    head = ["", "streams", "usage", "CPU an event", "× nginx", "first event"]
    return Findings(f"{table(head, rows)}\n\n{text}", goals)
