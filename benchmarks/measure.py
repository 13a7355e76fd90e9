"""The measurements of one contestant."""

import time
from dataclasses import dataclass

from benchmarks import load
from benchmarks.contestants import Contestant

CONCURRENCY = 32
QUIET_SHARE, QUIET_SECONDS, QUIET_WITHIN = 0.05, 0.5, 60.0


@dataclass(frozen=True)
class Plan:
    """How long each measurement takes. Rates are the best of `rounds`, since other programs can only slow them down."""

    seconds: int = 5
    rounds: int = 3
    streams_each: int = 40

    @classmethod
    def quick(cls) -> "Plan":
        """Just long enough to see that all of it works."""
        return cls(seconds=1, rounds=1, streams_each=3)


@dataclass(frozen=True)
class Result:
    """Of one contestant: rates a second, times in seconds, memory in bytes. None: it has no process of its own."""

    name: str
    rate: float
    connections: float
    p50_alone: float
    p99: float
    cpu_per_request: float | None
    cpu_per_event: float | None
    first_event: float
    resident: int | None


def measure(contestant: Contestant, plan: Plan) -> Result:
    """Measure a contestant that runs; raises LoadError when it does not answer as it should."""
    port, key = contestant.port, contestant.key
    load.wrk(port, CONCURRENCY, 1, key)  # warms caches and connections
    before, begun = contestant.cpu_seconds(), time.monotonic()
    loaded = [load.wrk(port, CONCURRENCY, plan.seconds, key) for _ in range(plan.rounds)]
    lasted = time.monotonic() - begun
    let_finish(contestant)
    spent = contestant.cpu_seconds() - before
    best = max(loaded, key=lambda run: run.rate)
    answered = sum(run.rate for run in loaded) / len(loaded) * lasted
    alone = min(load.wrk(port, 1, plan.seconds, key).p50 for _ in range(plan.rounds))
    fresh = max(load.wrk(port, CONCURRENCY, plan.seconds, key, new_connections=True).rate for _ in range(plan.rounds))
    let_finish(contestant)
    before = contestant.cpu_seconds()
    seen = load.streams(port, CONCURRENCY, plan.streams_each, key)
    let_finish(contestant)
    streaming = contestant.cpu_seconds() - before
    own = contestant.process is not None
    return Result(
        name=contestant.name,
        rate=best.rate,
        connections=fresh,
        p50_alone=alone,
        p99=best.p99,
        cpu_per_request=spent / answered if own else None,
        cpu_per_event=streaming / seen.events if own else None,
        first_event=seen.first,
        resident=contestant.resident_bytes() if own else None,
    )


def let_finish(contestant: Contestant) -> None:
    """Wait until a contestant is quiet: what it still has to do after its answers belongs to what they cost."""
    give_up = time.monotonic() + QUIET_WITHIN
    while time.monotonic() < give_up:
        before = contestant.cpu_seconds()
        time.sleep(QUIET_SECONDS)
        if contestant.cpu_seconds() - before < QUIET_SHARE * QUIET_SECONDS:
            return
