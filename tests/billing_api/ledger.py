"""A real ledger for tests: the embedded ClickHouse with the stream's schema, filled and rolled up as the stream does."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from contracts.clock import minute_of
from contracts.tables import DATABASE
from stream import migrate
from stream.statements import ROLL_UP
from tests.servers import Server, free_port, listens

TABLES = ("usage_events", "request_events", "usage_windows", "excluded_events", "producer_sequences")


class TestLedger:
    """Writes what the stream would write."""

    __test__ = False

    def __init__(self, server: Server) -> None:
        self.server, self.url = server, server.address
        asyncio.run(migrate.migrate(self.url))
        self.client: Client = clickhouse_connect.get_client(
            dsn=self.url, database=DATABASE, autogenerate_session_id=False
        )
        self.count = 0

    def clear(self) -> None:
        for table in TABLES:
            self.client.command(f"TRUNCATE TABLE {table}")

    def use(self, at: datetime, tenant: str, **fields: Any) -> str:
        """Store one usage event and roll its minute up; return its request id."""
        row = self._event(at, tenant, {"outcome": "completed", "accuracy": "exact", **fields})
        self._insert("usage_events", row)
        window = (tenant, int(minute_of(at).timestamp()))
        self.client.command(ROLL_UP, parameters={"windows": [window]})
        return str(row["request_id"])

    def ask(self, at: datetime, tenant: str, **fields: Any) -> str:
        """Store one request event; return its request id."""
        row = self._event(at, tenant, {"decision": "admitted", "received_at": at, **fields})
        self._insert("request_events", row)
        return str(row["request_id"])

    def gap(self, missing: int) -> None:
        """Store that a producer's numbers have a gap."""
        row = {
            "producer": "p",
            "epoch": "e",
            "writer": "w",
            "covered": 2,
            "ranges": [(1, 1), (missing + 2, missing + 2)],
        }
        self._insert("producer_sequences", {**row, "stored_at": datetime(2026, 11, 1, tzinfo=UTC)})

    def _event(self, at: datetime, tenant: str, fields: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        request = f"req_{self.count}"
        return {
            "id": f"event_{self.count}",
            "source": "/proxy/test",
            "event_time": at,
            "ingested_at": at,
            "stored_at": at,
            "content_hash": self.count,
            "producer": "p",
            "epoch": "e",
            "sequence": self.count,
            "request_id": request,
            "tenant": tenant,
            "instance": "gpu-1",
            "model": "llama",
            "endpoint": "/v1/chat/completions",
            "received_at": at,
            "admitted_at": at,
            **fields,
        }

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        self.client.insert(table, [list(row.values())], column_names=list(row))


@contextmanager
def running(folder: Path) -> Iterator[TestLedger]:
    """Run an embedded ClickHouse for as long as the block lasts."""
    port = free_port()
    command = [sys.executable, "-m", "embedded.clickhouse", "--port", str(port), "--data-dir", str(folder / "data")]
    server = Server(command, f"http://127.0.0.1:{port}", folder / "clickhouse.log", lambda: listens(port))
    try:
        yield TestLedger(server)
    finally:
        server.stop()
