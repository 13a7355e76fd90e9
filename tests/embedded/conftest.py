"""The embedded servers as processes, each on a free port."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import clickhouse_connect
import pytest

from embedded.parts import Probe
from embedded.probe import answers
from tests.servers import Server, free_port, listens


@contextmanager
def serving(name: str, folder: Path, *flags: str) -> Iterator[Server]:
    """Run `python -m embedded.NAME`."""
    port = free_port()
    command = [sys.executable, "-m", f"embedded.{name}", "--port", str(port), *flags]
    ready = {
        "clickhouse": lambda: answers(Probe.http(port, "/ping")),
        "redis": lambda: answers(Probe.redis(port)),
        "kafka": lambda: listens(port),
    }
    server = Server(command, f"127.0.0.1:{port}", folder / f"{name}.log", ready[name])
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ClickHouse for tests that leave no trace but their own tables."""
    folder = tmp_path_factory.mktemp("clickhouse")
    with serving("clickhouse", folder, "--data-dir", str(folder / "data")) as server:
        yield server


@pytest.fixture
def client(clickhouse: Server) -> Iterator[clickhouse_connect.driver.Client]:
    """An unmodified client in a database of its own."""
    url = f"http://{clickhouse.address}"
    with clickhouse_connect.get_client(dsn=url) as admin:
        admin.command("DROP DATABASE IF EXISTS test")
        admin.command("CREATE DATABASE test")
    with clickhouse_connect.get_client(dsn=url, database="test", tz_mode="aware") as client:
        yield client


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker that the tests share."""
    with serving("kafka", tmp_path_factory.mktemp("kafka")) as server:
        yield server
