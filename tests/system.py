"""The whole system as a test sees it: `weighbridge up` as a process, clients, and counts from both ends.

The simulator is started by the test, not by `up`, and writes a log of its own: that is the independent count.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import clickhouse_connect
import httpx
import msgspec

from tests.servers import ROOT, free_port, listens, wait_until

MODEL = "tiny"


class Simulator:
    """A fake vLLM on a port of its own; `requests()` is what it says it generated."""

    def __init__(self, folder: Path, *flags: str):
        self.port, self.log = free_port(), folder / "sim.jsonl"
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "cli", "sim", "--listen", f"127.0.0.1:{self.port}", "--log", str(self.log)]
        with (folder / "sim.log").open("ab") as output:
            self.process = subprocess.Popen([*command, *flags], cwd=ROOT, stdout=output, stderr=output)
        wait_until(lambda: listens(self.port), 120, "the simulator")

    def requests(self) -> dict[str, dict[str, Any]]:
        """Return its log by request id."""
        entries = [msgspec.json.decode(line) for line in self.log.read_bytes().splitlines()]
        return {entry["request_id"]: entry for entry in entries}

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(120)


class System:
    """`weighbridge up` on a data folder."""

    def __init__(
        self, folder: Path, upstream: str, environment: dict[str, str] | None = None, flags: tuple[str, ...] = ()
    ):
        self.data, self.log = folder / "data", folder / "up.log"
        proxies = 1 + flags.count("--upstream")  # each has a port, one after the other
        ports = ["--proxy-port", str(free_port(proxies)), "--api-port", str(free_port())]
        self.command = [
            sys.executable,
            "-m",
            "cli",
            "up",
            "--upstream",
            upstream,
            "--data-dir",
            str(self.data),
            *ports,
            *flags,
        ]
        self.environment = {**os.environ, **(environment or {})}
        self.start()

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        (self.data / "endpoints.json").unlink(missing_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.environment, stdout=output, stderr=output)
        wait_until(self._ready, 120, f"`up` to be ready; its log: {self.log.read_text()[-2000:]}")

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"`up` ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
        return (self.data / "endpoints.json").exists()

    def stop(self) -> None:
        """End it in order, as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(120)

    @property
    def endpoints(self) -> dict[str, Any]:
        """Read the addresses, the demo key and the live process ids."""
        return msgspec.json.decode((self.data / "endpoints.json").read_bytes(), type=dict[str, Any])

    def pids(self, part: str) -> list[int]:
        """Return the live process ids of a part."""
        found = self.endpoints["pids"].get(part) or []
        return [found] if isinstance(found, int) else found

    def kill(self, part: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to every process of a part."""
        for pid in self.pids(part):
            os.kill(pid, how)

    def api(self) -> httpx.Client:
        """Return a client of the billing API with the admin token."""
        endpoints = self.endpoints
        return httpx.Client(
            base_url=endpoints["api"], headers={"authorization": f"Bearer {endpoints['api_token']}"}, timeout=30
        )

    def key(self, name: str) -> tuple[str, str]:
        """Create a tenant and a key; return both: (tenant id, secret)."""
        with self.api() as api:
            tenant = api.post("/v1/tenants", json={"name": name, "currency": "EUR"}).raise_for_status().json()["id"]
            key = api.post("/v1/keys", json={"tenant": tenant, "name": "test"}).raise_for_status().json()
        return tenant, key["secret"]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask ClickHouse."""
        client = clickhouse_connect.get_client(
            dsn=self.endpoints["clickhouse"], database="weighbridge", autogenerate_session_id=False
        )
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def events(self) -> dict[str, dict[str, Any]]:
        """Return the usage events in ClickHouse by request id; an id that stands there twice fails."""
        columns = ("request_id", "tenant", "outcome", "accuracy", "input_tokens", "output_tokens", "status")
        rows = self.query(f"SELECT {', '.join(columns)} FROM usage")
        events = [dict(zip(columns, row, strict=True)) for row in rows]
        repeated = [name for name, count in Counter(event["request_id"] for event in events).items() if count > 1]
        assert not repeated, f"{len(repeated)} requests were recorded more than once"
        return {event["request_id"]: event for event in events}

    def wait_for_ledger(self, expected: set[str], seconds: float = 180) -> dict[str, dict[str, Any]]:
        """Wait until ClickHouse holds an event of every request id expected, then return all events."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                events = self.events()
            except clickhouse_connect.driver.exceptions.Error:  # it may have been killed by the test
                events = {}
            missing = expected - events.keys()
            if not missing:
                return events
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{len(missing)} of {len(expected)} requests are not in the ledger: {sorted(missing)[:5]}"
                )
            time.sleep(0.5)


@dataclass
class Traffic:
    """What clients sent and saw."""

    answered: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """How often each error code was answered: what a test that wants none shows when it fails."""
    failed: int = 0

    def add(self, other: "Traffic") -> None:
        """Add what another round saw."""
        self.answered |= other.answered
        self.cut |= other.cut
        self.refused |= other.refused
        self.statuses += other.statuses
        self.errors += other.errors
        self.failed += other.failed


async def send(
    proxy: str,
    keys: list[str],
    requests: int,
    concurrency: int = 8,
    cut_share: float = 0.1,
    seed: int = 1,
    gap: float = 0.0,
) -> Traffic:
    """Send chat requests, unary and streamed; cut some streams after a random number of bytes."""
    seen, rng, queue = Traffic(), random.Random(seed), iter(range(requests))

    async def client(session: aiohttp.ClientSession) -> None:
        for number in queue:
            try:
                await _one(session, proxy, keys[number % len(keys)], rng, cut_share, seen)
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                seen.failed += 1
                await asyncio.sleep(0.2)
            await asyncio.sleep(gap)

    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=concurrency)) as session:
        await asyncio.gather(*(client(session) for _ in range(concurrency)))
    return seen


async def _one(
    session: aiohttp.ClientSession, proxy: str, key: str, rng: random.Random, cut_share: float, seen: Traffic
) -> None:
    stream = rng.random() < 0.6
    cut = stream and rng.random() < cut_share / 0.6
    body = {
        "model": MODEL,
        "max_tokens": rng.randint(1, 60),
        "ignore_eos": True,
        "n": rng.choice([1, 1, 1, 2]),
        "stream": stream,
        "messages": [{"role": "user", "content": "word " * rng.randint(1, 40)}],
    }
    headers = {"authorization": f"Bearer {key}"}
    async with session.post(f"{proxy}/v1/chat/completions", json=body, headers=headers) as answer:
        request_id = answer.headers["x-request-id"]
        seen.statuses[answer.status] += 1
        if answer.status != 200:
            seen.refused.add(request_id)
            seen.errors[(await answer.json())["error"]["code"]] += 1
        elif cut:
            await answer.content.read(rng.randint(1, 3000))
            seen.cut.add(request_id)
            answer.close()
        else:
            await answer.read()
            seen.answered.add(request_id)
