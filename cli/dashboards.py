"""`weighbridge dashboards`: Grafana as code."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.addresses import web_address
from cli.errors import CommandError
from cli.output import JsonFlag, print_json
from contracts.settings import ClickHouseSettings, load

dashboards: Final = typer.Typer(no_args_is_help=True)
TOKEN_VARIABLE: Final = "WEIGHBRIDGE_GRAFANA_TOKEN"  # noqa: S105  # a name, not a token


@dashboards.command()
def render(
    file: Annotated[Path | None, typer.Argument(help="Where to; default: standard output.")] = None,
) -> None:
    """Write the dashboard as the JSON that Grafana reads.

    Example: weighbridge dashboards render fleet.json
    """
    from dashboards import render as rendering  # noqa: PLC0415  # slow to load

    if file is None:
        typer.echo(rendering.text(), nl=False)
        return
    try:
        rendering.write(file)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}", 2) from error


@dashboards.command()
def deploy(
    grafana_url: Annotated[str, typer.Option(help="Grafana's address.")] = "http://127.0.0.1:3000",
    clickhouse_url: Annotated[
        str | None, typer.Option(help="ClickHouse as Grafana's server reaches it; default: as we do.")
    ] = None,
    prometheus_url: Annotated[
        str, typer.Option(help="Prometheus as Grafana's server reaches it.")
    ] = "http://127.0.0.1:9090",
    as_json: JsonFlag = False,
) -> None:
    """Bring folder, data sources and dashboard into a running Grafana; its token is WEIGHBRIDGE_GRAFANA_TOKEN.

    Example: weighbridge dashboards deploy --grafana-url http://grafana:3000
    """
    import niquests  # noqa: PLC0415  # slow to load, as what uses it

    from dashboards import deploy as deploying  # noqa: PLC0415

    web_address("--grafana-url", grafana_url)
    token = os.environ.get(TOKEN_VARIABLE)
    if token is None and "@" not in grafana_url:
        raise CommandError(f"{TOKEN_VARIABLE} is not set: make a token of a service account with the role Admin", 2)
    clickhouse = clickhouse_url or load(ClickHouseSettings).clickhouse_url
    try:
        done = deploying.deploy(grafana_url, token, clickhouse_url=clickhouse, prometheus_url=prometheus_url)
    except deploying.DeployError as error:
        if isinstance(error.__cause__, niquests.exceptions.ConnectionError):  # its text is for programmers
            place = grafana_url.rpartition("@")[2]
            raise CommandError(f"no Grafana answers at {place}; check --grafana-url and that Grafana runs") from error
        raise CommandError(str(error)) from error
    except ValueError as error:
        raise CommandError(str(error), 2) from error
    if as_json:
        print_json({"url": done.url, "changed": done.changed, "provisioned": done.provisioned})
        return
    typer.echo(f"{done.url}: {', '.join(done.changed) or 'nothing to change'}")


@dashboards.command()
def check(as_json: JsonFlag = False) -> None:
    """Find what the dashboard asks for and nobody gives: exit status 1 when there is such a thing.

    Example: weighbridge dashboards check
    """
    from dashboards import check as checking  # noqa: PLC0415

    problems = checking.problems()
    if as_json:
        print_json(problems)
    else:
        typer.echo("\n".join(problems) or "every metric, view and column exists")
    if problems:
        raise typer.Exit(1)
