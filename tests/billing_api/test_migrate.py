"""The schema: migrations and models agree, run again they change nothing, and a service refuses an old schema."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from billing_api import app, migrate
from billing_api.db import Base, create_engine
from contracts.settings import SettingsError


def on(url: str, question: Any) -> Any:
    async def run() -> Any:
        engine = create_engine(url)
        async with engine.begin() as connection:
            found = await connection.run_sync(question)
        await engine.dispose()
        return found

    return asyncio.run(run())


def test_the_migrations_make_what_the_models_say(database_url: str) -> None:
    assert app  # all models are imported

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))

    assert on(database_url, differences) == []


def test_running_again_changes_nothing(database_url: str) -> None:
    migrate.upgrade(database_url)
    migrate.check(database_url)


def test_many_may_migrate_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(migrate.upgrade, url) for _ in range(4)]:
            done.result()
    migrate.check(url)


def test_the_migrations_can_be_taken_back(database_url: str) -> None:
    def down(connection: Connection) -> set[str]:
        config = migrate.config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        return set(inspect(connection).get_table_names())

    assert on(database_url, down) == {"alembic_version"}
    migrate.upgrade(database_url)


def test_an_old_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WEIGHBRIDGE_DATABASE_URL: .*run `weighbridge migrate`"):
        migrate.check(f"sqlite:///{tmp_path / 'empty.db'}")
