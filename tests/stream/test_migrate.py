from pathlib import Path

import pytest
import structlog

from contracts import tables
from stream import migrate as migrations
from stream.clickhouse import ClickHouse
from stream.migrate import Migration, MigrationError, migrate
from tests.servers import free_port
from tests.stream.conftest import ClickHouseServer, rows


async def test_migrations_are_applied_once(clickhouse_server: ClickHouseServer, clickhouse: ClickHouse) -> None:
    assert await migrate(clickhouse_server.url) == []
    applied = await rows(clickhouse, "SELECT number, name FROM migrations FINAL ORDER BY number")
    assert applied == [(migration.number, migration.name) for migration in migrations.migrations()]


async def test_a_crash_before_the_record_is_survived(
    clickhouse_server: ClickHouseServer, clickhouse: ClickHouse
) -> None:
    await clickhouse._client.command("TRUNCATE TABLE migrations")
    assert await migrate(clickhouse_server.url) == [migration.name for migration in migrations.migrations()]


async def test_a_changed_file_is_noticed(
    clickhouse_server: ClickHouseServer, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [Migration(m.number, m.name, m.text + "\n-- changed") for m in migrations.migrations()]
    monkeypatch.setattr(migrations, "migrations", lambda: changed)
    with pytest.raises(MigrationError, match="0001_events was changed"):
        await migrate(clickhouse_server.url)


async def test_public_views_are_there(clickhouse: ClickHouse) -> None:
    views = {name for (name,) in await rows(clickhouse, "SELECT name FROM system.tables WHERE engine = 'View'")}
    public = {tables.USAGE, tables.REQUESTS, tables.USAGE_MINUTE, tables.USAGE_HOUR, tables.USAGE_DAY}
    assert public | {tables.INSTANCE_SAMPLES, tables.SCALING_SIGNALS, tables.PRODUCERS, "conflicts"} <= views


async def test_roll_ups_have_the_promised_columns(clickhouse: ClickHouse) -> None:
    for view in (tables.USAGE_MINUTE, tables.USAGE_HOUR, tables.USAGE_DAY):
        columns = {name: kind for name, kind, *_ in await rows(clickhouse, f"DESCRIBE {view}")}
        assert set(columns) == {tables.BUCKET, *tables.GROUPS, *tables.SUMS}
        assert columns[tables.BUCKET].startswith("DateTime")


async def test_no_server_within_the_deadline() -> None:
    with pytest.raises(MigrationError, match="WEIGHBRIDGE_CLICKHOUSE_URL"):
        await migrate(f"http://127.0.0.1:{free_port()}", deadline_seconds=0.1)


async def test_whoever_waits_is_told_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.migrate.SAY_AFTER_SECONDS", 0.0)
    with structlog.testing.capture_logs() as said, pytest.raises(MigrationError):
        await migrate(f"http://127.0.0.1:{free_port()}", deadline_seconds=1.0)
    (entry,) = said
    assert "WEIGHBRIDGE_CLICKHOUSE_URL" in entry["event"]


def test_two_files_of_one_number_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "0001_b.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match="share a number"):
        migrations.migrations(tmp_path)


def test_statements_end_in_a_semicolon_at_the_end_of_a_line() -> None:
    text = "-- why; and how\nSELECT ';' FROM a;  \n\n  -- more\nSELECT 2\n  WHERE x;\n"
    assert list(Migration(1, "m", text).statements()) == ["SELECT ';' FROM a", "SELECT 2\n  WHERE x"]
