"""The only writer of ClickHouse. Every method may be run again: it then changes nothing that it has done.

Rows go in as JSON lines, which both ends read and write in compiled code. Raises `clickhouse_connect`'s and aiohttp's
errors, and OSError, when the server is away or refuses.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, Self, TypeVar

import msgspec
from clickhouse_connect.driver import create_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient

from contracts import tables
from contracts.events import ScalingData
from stream import completeness, statements
from stream.completeness import Ranges, covered
from stream.counters import Scan, Scanned, Totals
from stream.quota import Day, Figures
from stream.windows import Window, chunks

Kind = Literal["usage", "request"]
Epoch = tuple[str, str]
"""A producer and one of its epochs."""

T = TypeVar("T")
_WINDOWS_A_STATEMENT: Final = 500
_INSERT: Final = {"date_time_input_format": "best_effort", "input_format_skip_unknown_fields": 1, "async_insert": 0}
_SELECT: Final = {"output_format_json_quote_64bit_integers": 0, "max_query_size": 16_777_216}
_TIMEOUT_SECONDS: Final = 60


class _WindowRow(msgspec.Struct):
    tenant: str
    minute: int


class _RangeRow(msgspec.Struct):
    first: int
    last: int


class _RangesRow(msgspec.Struct):
    producer: str
    epoch: str
    writer: str
    ranges: list[_RangeRow]


class _SequencesRow(msgspec.Struct):
    producer: str
    epoch: str
    writer: str
    covered: int
    ranges: list[_RangeRow]
    stored_at: datetime


class _FiguresRow(msgspec.Struct):
    tenant: str
    generation: int
    requests: int
    input_tokens: int
    output_tokens: int


class _TotalsRow(msgspec.Struct):
    tenant: str
    whole: bool
    subject: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int


class ClickHouse:
    """An open connection to the database of the ledger."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    @classmethod
    async def connect(cls, url: str) -> Self:
        """Connect to `http(s)://user:password@host:port`; the database must exist."""
        client = await create_async_client(
            dsn=url, database=tables.DATABASE, connect_timeout=5, send_receive_timeout=_TIMEOUT_SECONDS
        )
        return cls(client)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def insert(self, table: str, rows: bytes) -> None:
        """Insert rows of JSON, one a line; they are on disk when this returns. No rows: nothing happens."""
        if rows:
            await self._client.raw_insert(table, insert_block=rows, fmt="JSONEachRow", settings=_INSERT)

    async def exclude_conflicts(self, kind: Kind, windows: Sequence[Window], now: datetime) -> list[Window]:
        """Exclude events whose id was stored before with another content; return the windows where there were such."""
        found: list[Window] = []
        for chunk in chunks(windows, _WINDOWS_A_STATEMENT):
            rows = await self._select(statements.conflicting_windows(kind), _WindowRow, windows=_literal(chunk))
            if not rows:
                continue
            wrong = tuple((row.tenant, row.minute) for row in rows)
            await self._command(statements.exclude_conflicts(kind), windows=wrong, now=int(now.timestamp() * 1_000_000))
            found += [window for window in chunk if (window.tenant, int(window.minute.timestamp())) in wrong]
        return found

    async def roll_up(self, windows: Sequence[Window]) -> None:
        """Replace the roll-ups of windows by what the ledger holds now."""
        for chunk in chunks(windows, _WINDOWS_A_STATEMENT):
            await self._command(statements.ROLL_UP, windows=_literal(chunk))

    async def ranges(self, epochs: Iterable[Epoch]) -> dict[Epoch, list[Ranges]]:
        """Return what each writer has said of the epochs."""
        return await self._ranges(statements.RANGES, tuple(epochs))

    async def contiguous(self, epochs: Iterable[str]) -> dict[str, int]:
        """Return up to which sequence the ledger holds all events of epochs; one that it has nothing of is left out."""
        found: dict[str, int] = {}
        for (_, epoch), parts in (await self._ranges(statements.RANGES_OF_EPOCHS, tuple(epochs))).items():
            held = completeness.contiguous(completeness.union(*parts))
            found[epoch] = min(found.get(epoch, held), held)
        return found

    async def write_ranges(self, writer: str, ranges: Mapping[Epoch, Ranges], now: datetime) -> None:
        """Replace what this writer says of epochs. `ranges` must hold at least what it said before."""
        rows = [
            _SequencesRow(producer, epoch, writer, covered(held), [_RangeRow(*pair) for pair in held], now)
            for (producer, epoch), held in ranges.items()
        ]
        await self.insert("producer_sequences", b"\n".join(map(msgspec.json.encode, rows)))

    async def write_signals(self, signals: Iterable[ScalingData]) -> None:
        """Store scaling signals."""
        await self.insert("scaling_signal_rows", b"\n".join(map(msgspec.json.encode, signals)))

    async def day_figures(self, days: Iterable[Day]) -> dict[Day, Figures]:
        """Return what the ledger holds for tenants' local days; a day of which it holds nothing is left out."""
        figures: dict[Day, Figures] = {}
        by_bounds: dict[tuple[datetime, datetime], dict[str, Day]] = {}
        for day in days:
            by_bounds.setdefault((day.start, day.end), {})[day.tenant] = day
        for (start, end), tenants in by_bounds.items():
            bounds = {"start": int(start.timestamp()), "end": int(end.timestamp())}
            rows = await self._select(statements.DAY_FIGURES, _FiguresRow, tenants=tuple(tenants), **bounds)
            for row in rows:
                figures[tenants[row.tenant]] = Figures(
                    row.generation, row.requests, row.input_tokens, row.output_tokens
                )
        return figures

    async def counter_totals(self, scan: Scan, subjects: Iterable[tuple[str, str]]) -> Scanned:
        """Return what subjects, each with its tenant, used within the scan's bounds."""
        wanted = tuple(subjects)
        bounds = {"start": int(scan.start.timestamp()), "end": int(scan.end.timestamp())}
        tenants = tuple({tenant for tenant, _ in wanted})
        query = statements.counter_totals(scan.kind)
        found = Scanned({}, {})
        for row in await self._select(query, _TotalsRow, tenants=tenants, subjects=wanted, **bounds):
            if row.whole:
                found.generations[row.tenant] = row.requests
                continue
            used = Totals(row.requests, row.input_tokens, row.output_tokens)
            for model in (row.model, None):
                key = (row.tenant, row.subject, model)
                found.totals[key] = found.totals.get(key, Totals()).plus(used)
        return found

    async def _command(self, statement: str, **parameters: Any) -> None:
        await self._client.command(statement, parameters=parameters, settings={"max_query_size": 16_777_216})

    async def _ranges(self, statement: str, epochs: tuple[Any, ...]) -> dict[Epoch, list[Ranges]]:
        if not epochs:
            return {}
        rows = await self._select(statement, _RangesRow, epochs=epochs)
        found: dict[Epoch, list[Ranges]] = {}
        for row in rows:
            ranges = tuple((pair.first, pair.last) for pair in row.ranges)
            found.setdefault((row.producer, row.epoch), []).append(ranges)
        return found

    async def _select(self, query: str, row: type[T], **parameters: Any) -> list[T]:
        lines = await self._client.raw_query(query, parameters=parameters, fmt="JSONEachRow", settings=_SELECT)
        return msgspec.json.Decoder(row).decode_lines(lines)


def _literal(windows: Iterable[Window]) -> tuple[tuple[str, int], ...]:
    return tuple((window.tenant, int(window.minute.timestamp())) for window in windows)
