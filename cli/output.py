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
    _print_cells(shown, [[_cell(row.get(column)) for column in shown] for row in rows])


def print_record(record: Row, *, as_json: bool) -> None:
    """Print one thing: as JSON, or a line for each field that has a value; a list of things as a table below."""
    if as_json:
        print_json(record)
        return
    lists = {name: value for name, value in record.items() if _is_table(value)}
    plain = {name: value for name, value in record.items() if value not in (None, [], {}) and name not in lists}
    _print_cells(None, [[name, _cell(value)] for name, value in plain.items()])
    for name, rows in lists.items():
        sys.stdout.write(f"\n{name}:\n")
        print_rows(rows, list(rows[0]), as_json=False)


def print_lines(lines: Iterator[tuple[str, Row]], *, as_json: bool) -> None:
    """Print each line when it comes, or as JSON, when all are there, what stands for them."""
    if as_json:
        print_json([data for _, data in lines])
        return
    for line, _ in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _print_cells(header: Sequence[str] | None, lines: Sequence[Sequence[str]]) -> None:
    """Print an aligned table to a terminal, tabs between the cells to anything else."""
    if not sys.stdout.isatty():
        for line in ([header] if header else []) + list(lines):
            sys.stdout.write("\t".join(line) + "\n")
        return
    table = Table(*(header or ()), box=None, header_style="bold", show_header=header is not None, pad_edge=False)
    for line in lines:
        table.add_row(*line)
    Console(highlight=False, markup=False, emoji=False).print(table)


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


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


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
