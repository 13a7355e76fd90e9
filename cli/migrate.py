"""`weighbridge migrate`: both databases to the newest schema."""

import asyncio

import typer

from cli.errors import CommandError
from contracts import logs
from contracts.settings import ClickHouseSettings, DatabaseSettings, load


class MigrateSettings(DatabaseSettings, ClickHouseSettings):
    """Where the databases are."""


def migrate(
    database_url: str | None = typer.Option(None, help="postgresql://… or sqlite:///FILE"),
    clickhouse_url: str | None = typer.Option(None, help="http(s)://user:password@host:port"),
) -> None:
    """Bring the SQL database and ClickHouse to the newest schema; safe to run at any time.

    Example: weighbridge migrate --database-url postgresql://weighbridge@db/weighbridge
    """
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  # not in an image of one other service

    from billing_api import migrate as sql  # noqa: PLC0415
    from stream import migrate as clickhouse  # noqa: PLC0415

    settings = load(MigrateSettings, database_url=database_url, clickhouse_url=clickhouse_url)
    logs.configure(settings.log_level, "migrate")
    try:
        sql.upgrade(settings.database_url)
    except (SQLAlchemyError, OSError) as error:
        raise CommandError(f"WEIGHBRIDGE_DATABASE_URL: the database refuses: {str(error).splitlines()[0]}") from error
    try:
        applied = asyncio.run(clickhouse.migrate(settings.clickhouse_url))
    except clickhouse.MigrationError as error:
        raise CommandError(str(error)) from error
    typer.echo(f"ClickHouse: {', '.join(applied) or 'nothing to do'}. SQL: at the newest schema.")
