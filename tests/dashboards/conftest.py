"""A ClickHouse with the stream's own schema and a quarter of an hour of known traffic in it."""

import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from contracts import tables
from contracts.clock import minute_of, utc_now
from tests import known_traffic
from tests.servers import ROOT, Server, free_port, listens


@pytest.fixture(scope="session")
def start() -> datetime:
    """When the traffic begins: not long ago, for old telemetry is dropped."""
    return minute_of(utc_now()) - timedelta(minutes=30)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory, start: datetime) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("clickhouse")
    port = free_port()
    command = [sys.executable, "-m", "embedded.clickhouse", "--port", str(port), "--data-dir", str(folder / "data")]
    server = Server(command, f"http://127.0.0.1:{port}", folder / "log", lambda: listens(port))
    try:
        client = clickhouse_connect.get_client(dsn=server.address, autogenerate_session_id=False)
        client.command(f"CREATE DATABASE {tables.DATABASE}")
        client.database = tables.DATABASE
        for file in sorted((ROOT / "stream" / "migrations").glob("*.sql")):
            for statement in _statements(file):
                client.command(statement)
        known_traffic.fill(client, start)
        yield client
        client.close()
    finally:
        server.stop()


def _statements(file: Path) -> list[str]:
    text = "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("--"))
    return [statement.strip() for statement in re.split(r";\s*(?:\n|$)", text) if statement.strip()]
