"""How long a revoked key still gets through: from the API's answer to the refusal by the last worker, under load."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx

from benchmarks import load
from benchmarks.contestants import upstream
from benchmarks.findings import Findings, Goal, milli, percentile, table
from benchmarks.half_load import BODY
from benchmarks.processes import HOST, Contestant, free_port, listens, started
from benchmarks.stand import Stand
from benchmarks.weighbridge import PEPPER, weighbridge
from billing_api import migrate

WORKERS, CONNECTIONS, LOAD_SECONDS = 2, 8, 2
ADMIN = "the token of the first administrator"
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
WIDTH = 50


def run(stand: Stand) -> Findings:
    """Revoke one key after the other by the real API, and ask every worker until it refuses."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(stand.scratch()))
        target = stack.enter_context(upstream(folder))
        store = free_port()
        command = [sys.executable, "-m", "embedded.redis", "--port", str(store), "--data-dir", str(folder / "keys")]
        stack.enter_context(started(command, folder / "keys.log", lambda: listens(store)))
        redis = f"redis://{HOST}:{store}/0"
        address = stack.enter_context(api(folder, redis))
        contestant = stack.enter_context(
            stand.running(partial(weighbridge, workers=WORKERS, WEIGHBRIDGE_REDIS_URL=redis), target.port)
        )
        delays, rate = asyncio.run(measure(address, contestant, stand.plan.revocations))
    return tell(delays, rate)


@contextmanager
def api(folder: Path, redis: str) -> Iterator[str]:
    """Run the billing API with a database of its own; yields its address."""
    port = free_port()
    environment = {
        "WEIGHBRIDGE_DATABASE_URL": f"sqlite:///{folder / 'keys.db'}",
        "WEIGHBRIDGE_REDIS_URL": redis,
        "WEIGHBRIDGE_KEY_PEPPER": PEPPER,
        "WEIGHBRIDGE_API_TOKEN": ADMIN,
        "WEIGHBRIDGE_CLICKHOUSE_URL": f"http://{HOST}:{free_port()}",
        "WEIGHBRIDGE_LOG_LEVEL": "warning",
    }
    migrate.upgrade(environment["WEIGHBRIDGE_DATABASE_URL"])
    command = [sys.executable, "-m", "cli", "api", "--listen", f"{HOST}:{port}"]
    with started(command, folder / "api.log", lambda: listens(port), environment):
        yield f"http://{HOST}:{port}"


class Worker:
    """A connection that one worker process took."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.port: int = writer.get_extra_info("sockname")[1]

    async def ask(self, key: str) -> int:
        """Send a request with a key; returns the status of the whole answer."""
        self._writer.write(load.post(BODY, key))
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        await self._reader.readexactly(int(fields[b"content-length"]))
        return int(head.split(b" ", 2)[1])

    async def refused(self, key: str, since: float) -> float:
        """Ask until the key is refused; returns the seconds from `since` to the end of that answer."""
        while await self.ask(key) == 200:
            pass
        return time.monotonic() - since

    def close(self) -> None:
        self._writer.close()


async def measure(address: str, contestant: Contestant, count: int) -> tuple[list[float], float]:
    """Return how long each key got through on each worker, and how many requests a second came meanwhile."""
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as client:
        tenant = (await client.post("/v1/tenants", json={"name": "revoked"})).raise_for_status().json()["id"]

        async def create() -> tuple[str, str]:
            made = await client.post("/v1/keys", json={"tenant": tenant, "name": "k"})
            return made.raise_for_status().json()["id"], made.json()["secret"]

        _, busy = await create()
        keys = [await create() for _ in range(count)]
        workers = await one_each(contestant)
        with background(contestant.port, busy) as rates:
            delays: list[float] = []
            for name, secret in keys:
                for worker in workers:
                    if await worker.ask(secret) != 200:
                        raise load.LoadError("a key that is not revoked was refused")
                (await client.post(f"/v1/keys/{name}/revoke")).raise_for_status()
                answered = time.monotonic()
                delays += await asyncio.gather(*(worker.refused(secret, answered) for worker in workers))
        for worker in workers:
            worker.close()
    return delays, percentile(rates, 0.5)


async def one_each(contestant: Contestant) -> list[Worker]:
    """Return a connection to each worker: the kernel deals connections out, so try until all have one."""
    found: dict[int, Worker] = {}
    while len(found) < WORKERS:
        worker = Worker(*await asyncio.open_connection(HOST, contestant.port))
        if await worker.ask("no key") != 401:
            raise load.LoadError("a request without a key was let in")
        owner = next(
            process.pid
            for process in contestant.processes()
            if any(each.raddr and each.raddr.port == worker.port for each in process.net_connections("tcp"))
        )
        if found.setdefault(owner, worker) is not worker:
            worker.close()
    return list(found.values())


@contextmanager
def background(port: int, key: str) -> Iterator[list[float]]:
    """Send as much as is answered until the block ends; yields the rates, of two seconds each, as they become known."""
    rates: list[float] = []
    ended = threading.Event()

    def send() -> None:
        while not ended.is_set():
            rates.append(load.wrk(port, CONNECTIONS, LOAD_SECONDS, key).rate)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield rates
    finally:
        ended.set()
        sending.join()


def tell(delays: list[float], rate: float) -> Findings:
    """Return the histogram and the goal."""
    figures = [milli(percentile(delays, share)) for share in (0.5, 0.9, 0.99, 1.0)]
    text = (
        f"{len(delays) // WORKERS:,} keys were revoked by `POST /v1/keys/…/revoke`, one after the other, while {CONNECTIONS}\n"
        f"connections sent as much as {WORKERS} workers answered ({rate:,.0f} requests/s). Each key had been used on both\n"
        "workers just before. Both were asked with it again and again from the moment of the API's answer; what counts is\n"
        "the time until the answer that refused it was read, so the least is what one request takes."
    )
    shown = table(["", "p50", "p90", "p99", "longest"], [["until a worker refuses", *figures]])
    goal = Goal("p99 of revocation on all workers", "≤", 1, " s", percentile(delays, 0.99))
    return Findings(f"{shown}\n\n{text}\n\n```text\n{histogram(delays)}\n```", [goal])


def histogram(delays: list[float]) -> str:
    """Return a line for each range of times: how many, and a bar as long as their share."""
    lines, below = [], 0.0
    for bound in (*BOUNDS_MS, float("inf")):
        number = sum(below <= delay * 1000 < bound for delay in delays)
        name = f"under {bound:5g} ms" if bound != float("inf") else f"from  {below:5g} ms"
        lines.append(f"{name}  {number:6,}  {'█' * round(WIDTH * number / len(delays))}".rstrip())
        below = bound
    return "\n".join(lines)


PAGE = """\
# How fast a revoked key is refused

A key that is revoked, or whose tenant, team or user is suspended, is refused by every worker of every proxy within a second of
the API's answer, as long as Redis is reachable (promise P10). The API answers only after the change stands in Redis and is
announced in a stream there. Each worker waits for that stream in one blocking read, so news come by push; the same read returns
twice a second without news, which is how a worker notices that Redis is away. A worker that missed news reads all it
remembers again, and every answer it keeps is checked again after 30 s in any case.

Measured by `make bench ARGS="--only revocation"`, which writes this page:

{verdicts}

Machine:

{machine}

{section}
"""


def page(found: Findings, machine: list[str]) -> str:
    """Return docs/revocation.md; `machine`: what it was measured on, as lines of a list."""
    verdicts = "\n".join(goal.line() for goal in found.goals)
    return PAGE.format(verdicts=verdicts, machine="\n".join(machine), section=found.text)
