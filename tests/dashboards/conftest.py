"""A ClickHouse with the stream's own schema and a quarter of an hour of known traffic in it."""

import asyncio
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from contracts import tables
from contracts.clock import minute_of, utc_now
from stream.migrate import migrate
from tests import known_traffic
from tests.servers import Server, free_port, listens


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
        asyncio.run(migrate(server.address))
        client = clickhouse_connect.get_client(
            dsn=server.address, database=tables.DATABASE, autogenerate_session_id=False
        )
        known_traffic.fill(client, start)
        yield client
        client.close()
    finally:
        server.stop()
