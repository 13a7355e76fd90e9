"""ClickHouse's schema: numbered files of SQL, applied once and in order.

What was applied stands in the table `migrations` with a digest of its text, so that a file which was changed after it was
applied is noticed. Every statement may be run again, as after a crash between a file and its record.
"""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from clickhouse_connect.driver import create_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from contracts import tables

FOLDER: Final = Path(__file__).parent / "migrations"
DEADLINE_SECONDS: Final = 60.0
SAY_AFTER_SECONDS: Final = 2.0
_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS migrations (number UInt32, name String, digest String, applied_at DateTime64(3, 'UTC'))
    ENGINE = ReplacingMergeTree ORDER BY number"""

log = structlog.get_logger()


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message says why and what to do."""


@dataclass(frozen=True)
class Migration:
    """A numbered file: its statements in order."""

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """Identify the text."""
        return sha256(self.text.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """Yield its statements: each ends in a semicolon at the end of a line."""
        plain = re.sub(r"^\s*--.*$", "", self.text, flags=re.MULTILINE)
        for statement in re.split(r";\s*$", plain, flags=re.MULTILINE):
            if statement.strip():
                yield statement.strip()


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """Return all migrations in order; raises MigrationError when two share a number."""
    found = [
        Migration(int(path.name[:4]), path.stem, path.read_text("utf-8"))
        for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]
    if len({migration.number for migration in found}) != len(found):
        raise MigrationError(f"two files in {folder} share a number")
    return found


async def migrate(url: str, deadline_seconds: float = DEADLINE_SECONDS) -> list[str]:
    """Bring ClickHouse's schema up to date, waiting for the server; return the names of what was applied now.

    Raises MigrationError when the server does not answer in time, or an applied file has been changed.
    """
    client = await _connect(url, time.monotonic() + deadline_seconds)
    try:
        await client.command(f"CREATE DATABASE IF NOT EXISTS {tables.DATABASE}")
    finally:
        await client.close()
    client = await create_async_client(dsn=url, database=tables.DATABASE)
    try:
        return await _apply(client)
    finally:
        await client.close()


async def _connect(url: str, deadline: float) -> AsyncClient:
    say_at = time.monotonic() + SAY_AFTER_SECONDS
    while True:
        try:
            return await create_async_client(dsn=url, database="default", connect_timeout=5)
        except (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise MigrationError(f"ClickHouse does not answer at WEIGHBRIDGE_CLICKHOUSE_URL: {error}") from error
            if time.monotonic() > say_at:
                say_at = deadline
                log.warning(
                    "waiting for ClickHouse (WEIGHBRIDGE_CLICKHOUSE_URL)", seconds=round(deadline - time.monotonic())
                )
            await asyncio.sleep(0.2)


async def _apply(client: AsyncClient) -> list[str]:
    await client.command(_TABLE)
    result = await client.query("SELECT number, digest FROM migrations FINAL")
    known: dict[int, str] = dict(result.result_rows)  # type: ignore[arg-type]
    applied: list[str] = []
    for migration in migrations():
        if migration.number in known:
            if known[migration.number] != migration.digest:
                raise MigrationError(f"{migration.name} was changed after it was applied; add a new migration instead")
            continue
        for statement in migration.statements():
            await client.command(statement)
        await client.command(
            "INSERT INTO migrations SELECT %(number)s, %(name)s, %(digest)s, now64(3, 'UTC')",
            parameters={"number": migration.number, "name": migration.name, "digest": migration.digest},
        )
        log.info("migrated", migration=migration.name)
        applied.append(migration.name)
    return applied
