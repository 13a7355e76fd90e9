"""Bringing the SQL schema to the newest version. Safe to run at any time, by several processes at once."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from billing_api.db import create_engine
from contracts.settings import SettingsError

_LOCK = 0x7765_6967_6862  # any number that no other program locks


def upgrade(url: str) -> None:
    """Create or change the schema of the database at `url`; raises what the database raises when it does not answer."""
    asyncio.run(_run(url, _upgrade))


def check(url: str) -> None:
    """Refuse a database whose schema is not the newest; raises SettingsError that says what to run."""
    asyncio.run(_run(url, _check))


async def _run(url: str, action: Callable[[Connection], None]) -> None:
    engine = create_engine(url)
    try:
        async with engine.execution_options(weighbridge_writing=True).begin() as connection:
            await connection.run_sync(action)
    finally:
        await engine.dispose()


def config() -> Config:
    """Return where the migrations are, for Alembic; the connection goes into its attributes."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return found


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def _check(connection: Connection) -> None:
    present = MigrationContext.configure(connection).get_current_revision()
    newest = ScriptDirectory.from_config(config()).get_current_head()
    if present != newest:
        raise SettingsError(
            f"WEIGHBRIDGE_DATABASE_URL: its schema is at {present or 'nothing'}, not {newest}: run `weighbridge migrate`"
        )
