"""Whole answers: how many a second over kept and over new connections, and how much later one comes."""

import time
from dataclasses import dataclass

from benchmarks import load
from benchmarks.contestants import nginx, upstream
from benchmarks.findings import Findings, Goal, mega, micro, milli, shown, table
from benchmarks.processes import Contestant
from benchmarks.stand import Plan, Stand
from benchmarks.weighbridge import weighbridge

CONCURRENCY = 32
FASTER = {"nginx": 0.4, "mitmdump": 35.0, "portkey": 35.0, "litellm": 350.0}
"""Of whose requests/s ours must be how many times."""
CITED = """\
Not measured in this run, but once on another machine, each in front of such an upstream at c=32: Portkey gateway 1.15 answered
880 requests/s and LiteLLM proxy 1.106 without a database 84, where nginx answered 73,000 and `mitmdump` 770 to 830."""


@dataclass(frozen=True)
class Rates:
    """Of one contestant: rates a second, times in seconds, memory in bytes. None: it has no process of its own."""

    name: str
    rate: float
    connections: float
    p50_alone: float
    p99: float
    cpu_per_request: float | None
    resident: int | None


def run(stand: Stand) -> Findings:
    """Measure the upstream alone, then one contestant after the other."""
    starts = {"nginx": nginx, "weighbridge": weighbridge, **stand.others}
    with upstream(stand.folder) as direct:
        results = [measure(direct, stand.plan)]
        for start in starts.values():
            with stand.running(start, direct.port) as contestant:
                results.append(measure(contestant, stand.plan))
    return tell(results, stand.plan)


def measure(contestant: Contestant, plan: Plan) -> Rates:
    """Measure a contestant that runs; raises LoadError when it does not answer as it should."""
    port, key = contestant.port, contestant.key
    load.wrk(port, CONCURRENCY, 1, key)  # warms caches and connections
    before, begun = contestant.cpu_seconds(), time.monotonic()
    loaded = [load.wrk(port, CONCURRENCY, plan.seconds, key) for _ in range(plan.rounds)]
    lasted = time.monotonic() - begun
    contestant.let_finish()
    spent = contestant.cpu_seconds() - before
    best = max(loaded, key=lambda run: run.rate)
    answered = sum(run.rate for run in loaded) / len(loaded) * lasted
    alone = min(load.wrk(port, 1, plan.seconds, key).p50 for _ in range(plan.rounds))
    fresh = max(load.wrk(port, CONCURRENCY, plan.seconds, key, new_connections=True).rate for _ in range(plan.rounds))
    contestant.let_finish()
    own = contestant.process is not None
    return Rates(
        name=contestant.name,
        rate=best.rate,
        connections=fresh,
        p50_alone=alone,
        p99=best.p99,
        cpu_per_request=spent / answered if own else None,
        resident=contestant.resident_bytes() if own else None,
    )


def tell(results: list[Rates], plan: Plan) -> Findings:
    """Return the table and the goals."""
    named = {each.name: each for each in results}
    direct, baseline, ours = named["no proxy"], named["nginx"], named["weighbridge"]
    head = [
        *("", f"requests/s, c={CONCURRENCY}", "× nginx", "new connections/s", "× nginx", "added p50, c=1"),
        *(f"p99, c={CONCURRENCY}", "CPU a request", "resident"),
    ]
    rows = [
        [
            each.name,
            f"{each.rate:,.0f}",
            f"{each.rate / baseline.rate:.2f}",
            f"{each.connections:,.0f}",
            f"{each.connections / baseline.connections:.2f}",
            "–" if each is direct else milli(each.p50_alone - direct.p50_alone),
            milli(each.p99),
            shown(each.cpu_per_request, micro),
            shown(each.resident, mega),
        ]
        for each in results
    ]
    text = (
        f"{plan.rounds} × {plan.seconds} s of `wrk -t1 -c{CONCURRENCY}`, the best. *New connections*: the same with\n"
        "`Connection: close`. *Added p50*: the median at one connection, less that of the upstream itself. *Resident* is\n"
        "after all of this."
    )
    goals = [
        Goal("requests/s", "≥", times, f" × {name}", ours.rate / named[name].rate if name in named else None)
        for name, times in FASTER.items()
    ]
    goals.append(Goal("new connections/s", "≥", 0.5, " × nginx", ours.connections / baseline.connections))
    goals.append(Goal("added p50, c=1", "≤", 0.12, " ms", (ours.p50_alone - direct.p50_alone) * 1e3))
    return Findings(f"{table(head, rows)}\n\n{text}\n\n{CITED}", goals)
