"""A ClickHouse for the stream's tests: chDB in a process of its own, behind ClickHouse's protocol."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts import tables
from stream.clickhouse import ClickHouse
from stream.migrate import migrate
from tests.servers import free_port, listens, wait_until


class ClickHouseServer:
    """A server that a test may kill and start again on the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "embedded.clickhouse", "--port", str(self.port), "--data-dir"]
            self.process = subprocess.Popen([*command, str(self.folder / "data")], stdout=log, stderr=log)
        wait_until(self.answers, 120, "ClickHouse to answer")

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    server = ClickHouseServer(tmp_path_factory.mktemp("clickhouse"))
    yield server
    server.kill()


TABLES = (
    "usage_events",
    "request_events",
    "excluded_events",
    "dead_letters",
    "usage_windows",
    "producer_sequences",
    "instance_sample_rows",
    "scaling_signal_rows",
)


@pytest.fixture
async def clickhouse(clickhouse_server: ClickHouseServer) -> AsyncIterator[ClickHouse]:
    """The ledger's store with an up-to-date schema and no rows."""
    await migrate(clickhouse_server.url)
    store = await ClickHouse.connect(clickhouse_server.url)
    await empty(store)
    yield store
    await store.close()


async def empty(store: ClickHouse) -> None:
    for table in TABLES:
        await store._client.command(f"TRUNCATE TABLE {tables.DATABASE}.{table}")


async def rows(store: ClickHouse, sql: str) -> list[tuple[Any, ...]]:
    """Return what a query gives, as tuples."""
    return [tuple(row) for row in (await store._client.query(sql)).result_rows]


class RedisServer:
    """A Redis that a test may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        with (self.folder / "redis.log").open("ab") as log:
            command = [sys.executable, "-m", "embedded.redis", "--port", str(self.port), "--data-dir"]
            self.process = subprocess.Popen([*command, str(self.folder / "redis")], stdout=log, stderr=log)
        wait_until(lambda: listens(self.port), 120, "Redis to answer")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
