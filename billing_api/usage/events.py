# ruff: noqa: S608  # built from names of ours; whatever comes from outside is a parameter
"""Rows of ClickHouse's views `usage` and `requests`, newest first, a page at a time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from billing_api.paging import Listing, encode, invalid_cursor
from billing_api.usage.ledger import Ledger
from billing_api.usage.query import TAG, micros
from contracts import events, money, tables
from contracts.clock import rfc3339

COLUMNS: Final = {
    tables.USAGE: (*(field.name for field in msgspec.structs.fields(events.UsageData)), *tables.ENVELOPE),
    tables.REQUESTS: (*(field.name for field in msgspec.structs.fields(events.RequestData)), *tables.ENVELOPE),
}
"""What a row shows, by view."""


async def newest(
    ledger: Ledger,
    view: str,
    window: tuple[datetime, datetime],
    filters: Mapping[str, Sequence[Any]],
    asked: Listing,
    further: tuple[str, Mapping[str, Any]] | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of a view's rows in `[from, to)`, newest first, and the cursor of the next.

    Args:
        ledger: where to ask.
        view: `usage` or `requests`.
        window: times of `event_time`.
        filters: allowed values by column; a tag is `tags.X`.
        asked: which page.
        further: one more condition, and its parameters; `start` and `end` are there.

    """
    parameters: dict[str, Any] = {"start": micros(window[0]), "end": micros(window[1]), "limit": asked.limit + 1}
    conditions = [
        "event_time >= fromUnixTimestamp64Micro({start:Int64}, 'UTC')",
        "event_time < fromUnixTimestamp64Micro({end:Int64}, 'UTC')",
        *_conditions(filters, parameters),
    ]
    if further is not None:
        conditions.append(further[0])
        parameters |= further[1]
    if (after := asked.after) is not None:
        conditions.append(_earlier(after, parameters))
    rows = await ledger.rows(
        f"""SELECT {", ".join(f"`{column}`" for column in COLUMNS[view])}
            FROM {view} WHERE {" AND ".join(conditions)}
            ORDER BY event_time DESC, source DESC, id DESC LIMIT {{limit:UInt64}}""",
        parameters,
    )
    shown = rows[: asked.limit]
    if len(rows) <= asked.limit:
        return [plain(row) for row in shown], None
    last = shown[-1]
    return [plain(row) for row in shown], encode([micros(last["event_time"]), last["source"], last["id"]])


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON can hold it: times as RFC 3339, amounts as strings."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    return money.precise(value) if isinstance(value, Decimal) else value


def _conditions(filters: Mapping[str, Sequence[Any]], parameters: dict[str, Any]) -> list[str]:
    found = []
    for number, (column, values) in enumerate(filters.items()):
        parameters[f"allowed{number}"] = list(values)
        kind = "Int64" if isinstance(values[0], int) else "String"
        name = f"`{column}`"
        if column.startswith(TAG):
            parameters[f"tag{number}"] = column.removeprefix(TAG)
            name = f"tags[{{tag{number}:String}}]"
            found.append(f"mapContains(tags, {{tag{number}:String}})")
        found.append(f"{name} IN {{allowed{number}:Array({kind})}}")
    return found


def _earlier(after: Sequence[Any], parameters: dict[str, Any]) -> str:
    if [type(value) for value in after] != [int, str, str]:
        raise invalid_cursor()
    parameters["last_time"], parameters["last_source"], parameters["last_id"] = after
    place = "(fromUnixTimestamp64Micro({last_time:Int64}, 'UTC'), {last_source:String}, {last_id:String})"
    return f"(event_time, source, id) < {place}"
