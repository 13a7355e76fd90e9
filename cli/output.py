"""What commands print: tables for people, JSON for programs."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Row = Mapping[str, Any]


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_rows(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows: as JSON whole, as a table the columns named, of which those that all rows lack are left out."""
    if as_json:
        print_json(list(rows))
        return
    shown = [column for column in columns if any(row.get(column) is not None for row in rows)] or list(columns)
    table = Table(*shown, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in shown))
    _console().print(table if rows else "none")


def print_record(record: Row, *, as_json: bool) -> None:
    """Print one thing: as JSON, or a line for each field that has a value."""
    if as_json:
        print_json(record)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in record.items():
        if value is not None and value not in ([], {}):
            table.add_row(name, _cell(value))
    _console().print(table)


@contextmanager
def progress(title: str, total: float) -> Iterator[Callable[[float], None]]:
    """Show a bar on stderr while work goes on, none when that is no terminal; yields a function that takes how much is done."""
    bar = Progress(
        TextColumn(title),
        BarColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def _console() -> Console:
    """Return where tables go: as wide as the terminal, and never cut where there is none."""
    return (
        Console(highlight=False, markup=False, emoji=False)
        if sys.stdout.isatty()
        else Console(highlight=False, markup=False, emoji=False, width=1000, soft_wrap=True)
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_cell(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(_cell(part) for part in value)
    return msgspec.json.encode(value).decode()
