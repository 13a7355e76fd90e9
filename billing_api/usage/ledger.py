"""Reading ClickHouse: queries with parameters in, rows out; when it is away, a 503 problem."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import clickhouse_connect
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from billing_api.errors import Problem
from contracts.tables import DATABASE

TIMEOUT_SECONDS: Final = 15
SETTINGS: Final = {"max_execution_time": 10, "max_result_rows": 1_000_000}

log = structlog.get_logger()
Row = Mapping[str, Any]


class Ledger:
    """A reader of ClickHouse. It connects when it is first asked, and again after ClickHouse was away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._lock = asyncio.Lock()

    async def rows(self, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run a query with server-side parameters (`{name:Type}`) and return its rows by column name.

        Raises a 503 problem `usage_unavailable` when ClickHouse is away or refuses.
        """
        try:
            client = await self._connected()
            result = await asyncio.to_thread(client.query, query, parameters=dict(parameters), settings={**SETTINGS})
            return list(result.named_results())
        except (ClickHouseError, OSError) as error:
            log.warning("usage_unavailable", error=str(error)[:2000])
            raise unavailable() from error

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await asyncio.to_thread(self._client.close)

    async def _connected(self) -> Client:
        async with self._lock:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect)
            return self._client

    def _connect(self) -> Client:
        return clickhouse_connect.get_client(
            dsn=self._url,
            database=DATABASE,
            autogenerate_session_id=False,
            connect_timeout=3,
            send_receive_timeout=TIMEOUT_SECONDS,
            tz_mode="aware",
        )


def unavailable() -> Problem:
    """Return the problem of a ClickHouse that does not answer."""
    return Problem(503, "usage_unavailable", "ClickHouse does not answer; try again", {"retry-after": "1"})
