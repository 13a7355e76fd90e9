"""Every command by name: where it lives and what it does. Only the one that runs is loaded.

A service so started carries none of the other commands' libraries, in memory or in its image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer

EVERYTHING: Final = "Everything on one machine"
SERVICES: Final = "Services"
API: Final = "Through the billing API"
AROUND: Final = "Around it"


@dataclass(frozen=True)
class Entry:
    """A command or a group: its place in the list, one line about it, and `module:attribute`."""

    panel: str
    summary: str
    target: str

    def load(self) -> Any:
        """Return the function or the group."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


CATALOGUE: Final[Mapping[str, Entry]] = {
    "up": Entry(EVERYTHING, "Run the whole system, in front of your vLLM servers or a simulated one.", "cli.up:up"),
    "demo": Entry(
        EVERYTHING, "Send a minute of mixed traffic of three tenants through a running `up`.", "cli.demo:demo"
    ),
    "proxy": Entry(SERVICES, "Run one sidecar in front of one vLLM server.", "cli.services:proxy"),
    "stream": Entry(SERVICES, "Run the stream: events from Kafka into ClickHouse.", "cli.services:stream"),
    "api": Entry(SERVICES, "Run the billing API.", "cli.services:api"),
    "sim": Entry(SERVICES, "Run a simulated vLLM server.", "cli.services:sim"),
    "migrate": Entry(SERVICES, "Bring both databases to the newest schema.", "cli.migrate:migrate"),
    "tenant": Entry(API, "Tenants: who pays.", "cli.accounts:tenant"),
    "team": Entry(API, "Teams: parts of a tenant.", "cli.accounts:team"),
    "user": Entry(API, "Users: people and programs of a tenant.", "cli.accounts:user"),
    "key": Entry(API, "API keys.", "cli.keys:key"),
    "plan": Entry(API, "Plans: limits, models and priority that many share.", "cli.plans:plan"),
    "limit": Entry(API, "Limits of tenants, teams, users and keys.", "cli.limits:limit"),
    "apply": Entry(API, "Make tenants, plans, limits and prices what a file says.", "cli.apply:apply"),
    "price": Entry(API, "Price books: what tokens cost.", "cli.prices:price"),
    "invoice": Entry(API, "Invoices.", "cli.invoices:invoice"),
    "usage": Entry(API, "Who used what, and what it costs.", "cli.usage:usage"),
    "audit": Entry(API, "Who did what, when.", "cli.usage:audit"),
    "dashboards": Entry(AROUND, "Grafana as code.", "cli.dashboards:dashboards"),
    "doctor": Entry(AROUND, "Say what is wrong with this installation.", "cli.doctor:doctor"),
}


def create_app(wanted: str | None) -> typer.Typer:
    """Return the command with all its names, and behind `wanted` what it does."""
    app = typer.Typer(
        name="weighbridge",
        help="Exact metering and billing for self-hosted LLM serving, in front of vLLM.\n\nExample: weighbridge up",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name, entry in CATALOGUE.items():
        found: Callable[..., Any] | typer.Typer = entry.load() if name == wanted else _named
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, help=entry.summary, rich_help_panel=entry.panel)
        else:
            summary = None if name == wanted else entry.summary
            app.command(name, help=summary, rich_help_panel=entry.panel)(found)
    return app


def _named() -> None:
    """Stand for a command that is only named in a list."""
