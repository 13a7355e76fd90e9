"""The `weighbridge` command: `python -m cli` does the same."""

import os
import sys

import typer

from cli.catalogue import create_app
from cli.errors import CommandError
from contracts.settings import SettingsError
from contracts.spelling import variables

INTERRUPTED = 130


def main() -> None:
    """Run the command and exit: 0 done, 1 no, 2 wrong use; what went wrong is one line on stderr."""
    for line in variables(os.environ):
        sys.stderr.write(f"weighbridge: {line}\n")
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
