"""What a second worker gives: not what the machine has left for it, but what a core of its own would do."""

import os
from dataclasses import dataclass
from functools import partial

from benchmarks.contestants import upstream
from benchmarks.findings import Findings, Goal, micro, table
from benchmarks.load import wrk
from benchmarks.processes import Contestant
from benchmarks.stand import Plan, Stand
from benchmarks.weighbridge import weighbridge

CONCURRENCY = 64
LEAST = 1.7
ROOMY = 4
"""Cores that give two workers, upstream and load generator room beside each other: then the plain ratio can be judged."""


@dataclass(frozen=True)
class Capacity:
    """Of one number of workers: requests a second as they were answered, and for every second of their CPU."""

    workers: int
    rate: float
    per_cpu_second: float


def run(stand: Stand) -> Findings:
    """Measure one worker, then two, under the same load."""
    results = []
    with upstream(stand.folder) as target:
        for workers in (1, 2):
            with stand.running(partial(weighbridge, workers=workers), target.port) as contestant:
                results.append(measure(contestant, workers, stand.plan))
    return tell(results, os.cpu_count() or 1)


def measure(contestant: Contestant, workers: int, plan: Plan) -> Capacity:
    """Send as much as is answered; all CPU until the contestant is quiet again counts."""
    wrk(contestant.port, CONCURRENCY, 1, contestant.key)  # warms caches and connections
    contestant.let_finish()
    before = contestant.cpu_seconds()
    runs = [wrk(contestant.port, CONCURRENCY, plan.seconds, contestant.key) for _ in range(plan.rounds)]
    contestant.let_finish()
    spent = contestant.cpu_seconds() - before
    return Capacity(workers, max(run.rate for run in runs), sum(run.requests for run in runs) / spent)


def tell(results: list[Capacity], cores: int) -> Findings:
    """Return the table and the goal. `cores`: of this machine, which say what can be judged."""
    one, two = results
    aside = two.workers * two.per_cpu_second / one.per_cpu_second
    raw = two.rate / one.rate
    rows = [
        [f"{each.workers}", f"{each.rate:,.0f}", micro(1 / each.per_cpu_second), f"{each.per_cpu_second:,.0f}"]
        for each in results
    ]
    judged = "as answered" if cores >= ROOMY else "load generator aside"
    text = (
        f"`wrk -t1 -c{CONCURRENCY}`, and {cores} cores for workers, wrk, upstream and all else. As answered, two workers did\n"
        f"{raw:.2f} × what one did. Load generator aside, {aside:.2f} ×: twice what they answered in a second of their own\n"
        "CPU, over what one worker did; it supposes a core for each, and counts what they cost each other. On fewer than\n"
        f"{ROOMY} cores this is judged, since the plain ratio says what wrk and upstream left over."
    )
    head = ["workers", "requests/s as answered", "CPU a request", "requests a second of CPU"]
    goal = Goal(f"2 workers, {judged}", "≥", LEAST, " × 1 worker", raw if cores >= ROOMY else aside)
    return Findings(f"{table(head, rows)}\n\n{text}", [goal])
