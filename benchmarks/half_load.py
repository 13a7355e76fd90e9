"""The latency at half of what the proxy can, with requests that come when they come."""

from dataclasses import dataclass

from benchmarks import load
from benchmarks.contestants import nginx, upstream
from benchmarks.findings import Findings, Goal, milli, percentile, table
from benchmarks.open_loop import steady
from benchmarks.processes import Contestant
from benchmarks.stand import Stand
from benchmarks.weighbridge import weighbridge

CONCURRENCY, CONNECTIONS = 32, 64
BODY = b'{"model":"tiny","messages":[{"role":"user","content":"hello world this is a prompt"}],"max_tokens":64}'


@dataclass(frozen=True)
class Latencies:
    """Of one contestant, in seconds."""

    name: str
    each: list[float]

    def at(self, share: float) -> float:
        """Return a percentile."""
        return percentile(self.each, share)


def run(stand: Stand) -> Findings:
    """Find out what the proxy can, then send half of that to it, to nginx, and to the upstream itself."""
    plan = stand.plan

    def at_rate(contestant: Contestant) -> Latencies:
        request = load.post(BODY, contestant.key)
        steady(contestant.port, request, rate, 1.0, CONNECTIONS)  # warms caches and connections
        return Latencies(contestant.name, steady(contestant.port, request, rate, plan.steady_seconds, CONNECTIONS))

    with upstream(stand.folder) as direct:
        with stand.running(weighbridge, direct.port) as ours:
            load.wrk(ours.port, CONCURRENCY, 1, ours.key)
            rate = max(load.wrk(ours.port, CONCURRENCY, plan.seconds, ours.key).rate for _ in range(plan.rounds)) / 2
            ours.let_finish()
            proxied = at_rate(ours)
        with stand.running(nginx, direct.port) as baseline:
            return tell([at_rate(direct), at_rate(baseline), proxied], rate, plan.steady_seconds)


def tell(results: list[Latencies], rate: float, seconds: float) -> Findings:
    """Return the table and the goal."""
    named = {each.name: each for each in results}
    direct = named["no proxy"]
    added = named["weighbridge"].at(0.99) - direct.at(0.99)
    rows = [
        [
            each.name,
            *(milli(each.at(share)) for share in (0.5, 0.99, 0.999)),
            "–" if each is direct else milli(each.at(0.99) - direct.at(0.99)),
        ]
        for each in results
    ]
    text = (
        f"{rate:,.0f} requests/s for {seconds:.0f} s: half of the most that this proxy answered at c={CONCURRENCY} just\n"
        f"before, and the same for all. They are sent at a constant rate over {CONNECTIONS} connections, and each counts\n"
        "from the time at which it should have been sent. *Added*: less that of the upstream itself."
    )
    head = ["", "p50", "p99", "p99.9", "added p99"]
    return Findings(f"{table(head, rows)}\n\n{text}", [Goal("added p99 at half load", "≤", 2, " ms", added * 1e3)])
