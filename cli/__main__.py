"""The `weighbridge` command: `python -m cli` does the same."""

import os
import sys

import typer

from cli import accounts, keys, services
from cli.errors import CommandError
from cli.migrate import migrate
from cli.up import up
from contracts.settings import SettingsError

INTERRUPTED = 130


def create_app(wanted: str | None = None) -> typer.Typer:
    """Return the command with all its groups; `wanted` is the one that will run."""
    app = typer.Typer(
        name="weighbridge",
        help="Exact metering and billing for self-hosted LLM serving, in front of vLLM.\n\nExample: weighbridge up",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.command("up", rich_help_panel="Everything on one machine")(up)
    services.add_to(app, wanted)
    app.command("migrate", rich_help_panel="Services")(migrate)
    for group in (accounts.tenant, accounts.team, accounts.user, keys.key):
        app.add_typer(group, rich_help_panel="Through the billing API")
    return app


def main() -> None:
    """Run the command and exit: 0 done, 1 no, 2 wrong use; what went wrong is one line on stderr."""
    try:
        status = create_app(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="weighbridge", standalone_mode=False)
    except typer.TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except (SettingsError, CommandError) as error:
        _fail(str(error), getattr(error, "status", 2))
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `weighbridge … | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> None:
    line = " ".join(message.split())
    if line:  # a group without a command has printed its help, which says it all
        sys.stderr.write(f"weighbridge: {line}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
