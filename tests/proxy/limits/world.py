"""Processes that share limits, on the model of the store and a clock of the test's own. Everything happens at once here."""

import copy
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.quota_feedback import ActiveCounter
from proxy.limits.limiter import RedisLimits
from proxy.limits.model import Store
from proxy.ports import Amounts, Grant
from tests.proxy.limits.people import demand

START = 1_795_000_000_000_000
LEASE = 5.0


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what never has to wait for anything."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


class Client:
    """A process's way to the store: it may be cut, and replies may be lost after or before the step was taken."""

    def __init__(self, world: "World") -> None:
        self.world, self.cut, self.lose = world, False, ""
        self.agreed: str | None = None

    async def attend(self, process: str, life: int, **rest: Any) -> Any:
        if self.cut:
            raise OSError("cut")
        answer = self.world.store.attend(process, life, now=self.world.now, **rest)
        self.agreed = answer.server
        return answer

    async def exchange(self, process: str, life: int, lease: int, asks: Any) -> Any:
        lose, self.lose = self.lose, ""
        if self.cut or lose == "before" or self.agreed != self.world.store.server:
            raise OSError("cut")
        answer = self.world.store.exchange(process, life, lease, asks, self.world.now)
        if lose == "after":
            raise OSError("lost")
        return answer

    async def register(self, tenant: str, counters: Any) -> None:
        if self.cut:
            raise OSError("cut")
        self.world.registered |= {counter.counter: counter for counter in counters}


@dataclass
class Admitted:
    """A request that was let in: `tokens` is what it counts now."""

    process: "Process"
    grant: Grant
    at: int
    tokens: int
    ended: bool = False


@dataclass
class Process:
    limits: RedisLimits
    client: Client
    skew: timedelta
    alive: bool = True
    sequence: int = 0


@dataclass
class World:
    store: Store = field(default_factory=lambda: Store("server-0", START - 3_600_000_000))
    now: int = START
    processes: list[Process] = field(default_factory=list)
    admitted: list[Admitted] = field(default_factory=list)
    servers: int = 0
    registered: dict[str, ActiveCounter] = field(default_factory=dict)

    def process(self, skew: float = 0.0) -> Process:
        client = Client(self)
        name, begun = f"p{len(self.processes)}", self.now
        limits = RedisLimits(client, name, lambda: 1000 + (self.now - begun) / 1e6, lease=LEASE)
        self.processes.append(Process(limits, client, timedelta(seconds=skew)))
        return self.processes[-1]

    def clock(self, process: Process) -> datetime:
        return datetime.fromtimestamp(self.now / 1e6, UTC) + process.skew

    def request(self, process: Process, who, tokens=1, bound=None) -> Admitted | None:
        asked, now = demand(who, tokens, bound), self.clock(process)
        answer = process.limits.take(asked, now)
        if answer is None:
            answer = at_once(process.limits.wait(asked, now))
        if not isinstance(answer, Grant):
            return None
        self.admitted.append(Admitted(process, answer, self.now, tokens if bound is None else bound))
        return self.admitted[-1]

    def settle(self, request: Admitted, used: int, written: bool = True) -> None:
        request.process.sequence += 1
        place = request.process.sequence if written else -1
        request.process.limits.settle(request.grant, Amounts(used, 0), self.clock(request.process), place)
        request.tokens, request.ended = used, True

    def look(self, process: Process) -> None:
        at_once(process.limits.upkeep.look())

    def pass_time(self, seconds: float, looking: bool = True) -> None:
        """Let time pass; processes look after what they hold, as they do in the background."""
        end = self.now + int(seconds * 1e6)
        while self.now < end:
            self.now = min(end, self.now + 1_000_000)
            for process in self.processes if looking else []:
                if process.alive:
                    self.look(process)

    def kill(self, process: Process) -> None:
        process.alive = False
        for request in self.admitted:
            if request.process is process:
                request.ended = True

    def restart_redis(self, snapshot: Store | None) -> None:
        """Redis is gone and comes back, with an older memory or none."""
        self.servers += 1
        self.store = copy.deepcopy(snapshot) if snapshot is not None else Store()
        self.store.server, self.store.started = f"server-{self.servers}", self.now

    def within(self, seconds: float) -> int:
        """Return what was let in within the window that ends now, as far as it is known by now."""
        return sum(request.tokens for request in self.admitted if request.at > self.now - seconds * 1e6)

    def running(self) -> int:
        return sum(not request.ended for request in self.admitted)
