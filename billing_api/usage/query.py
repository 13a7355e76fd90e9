# ruff: noqa: S608  # built from names of ours; whatever comes from outside is a parameter
"""The SQL that asks ClickHouse for figures. Pure: questions in, a query and its parameters out.

Figures come from the roll-ups by minute. Where a window or a price begins within a minute, that minute is read from the raw
events, and so is everything when events are grouped or filtered by what the roll-ups do not hold (end users, tags).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from contracts import tables
from contracts.clock import minute_of

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TAG: Final = "tags."
_TOKENS: Final = tuple(column for column in tables.SUMS if column.endswith("_tokens"))


@dataclass(frozen=True)
class Question:
    """Sums over `[starts[0], end)`.

    Attributes:
        starts: where buckets begin, in order.
        end: where the last bucket ends.
        cuts: where prices change, in order, from `starts[0]`; sums are apart on either side of each.
        group_by: columns (`tables.GROUPS`, `end_user`, `tags.X`) to tell apart.
        filters: allowed values by column.

    """

    starts: Sequence[datetime]
    end: datetime
    cuts: Sequence[datetime]
    group_by: Sequence[str] = ()
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """SQL with `{name:Type}` parameters."""

    text: str
    parameters: dict[str, Any]


def micros(moment: datetime) -> int:
    """Return Unix microseconds."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_micros(number: int) -> datetime:
    """Return the moment of Unix microseconds."""
    return EPOCH + timedelta(microseconds=number)


def figures(question: Question, limit: int, after: Sequence[Any] | None) -> Query:
    """Return the query for a page of `limit` + 1 (bucket, group) pairs in order.

    Its rows, of which a pair has several, have `bucket` and `segment` (Unix microseconds of a bucket's and a price's start),
    `g0`, `g1`… (the group's values), `tenant`, `model` and the sums.

    Args:
        question: what is asked.
        limit: how many pairs a page has.
        after: `position` of the last pair of the page before.

    """
    parameters: dict[str, Any] = {"start": micros(question.starts[0]), "end": micros(question.end), "limit": limit + 1}
    source = _source(question, parameters)
    names = [f"g{number}" for number in range(len(question.group_by))]
    position = ", ".join(["bucket", *(part for name in names for part in (f"isNull({name})", f"ifNull({name}, '')"))])
    later = ""
    if after is not None:
        later = f"WHERE tuple({position}) > tuple({', '.join(_place(after, parameters))})"
    sums = ", ".join(f"sum({column}) AS {column}" for column in tables.SUMS)
    groups = "".join(f", {name}" for name in names)
    text = f"""
        WITH source AS ({source})
        SELECT bucket, segment, tenant, model{groups}, {sums}
        FROM source
        WHERE tuple({position}) IN (
            SELECT DISTINCT tuple({position}) AS place FROM source {later} ORDER BY place LIMIT {{limit:UInt64}}
        )
        GROUP BY bucket, segment, tenant, model{groups}
        ORDER BY {position}, segment, tenant, model"""
    return Query(text, parameters)


def position(bucket: int, values: Sequence[str | None]) -> list[str | int]:
    """Return the sort values of a pair, for a cursor."""
    return [bucket, *(part for value in values for part in (int(value is None), value or ""))]


def _place(after: Sequence[Any], parameters: dict[str, Any]) -> list[str]:
    parts = []
    for number, value in enumerate(after):
        parameters[f"after{number}"] = value
        parts.append(f"{{after{number}:{'String' if isinstance(value, str) else 'Int64'}}}")
    return parts


def _source(question: Question, parameters: dict[str, Any]) -> str:
    """Return the query for what is added up: rows of `at` (Unix microseconds), groups, tenant, model and sums."""
    columns = {*question.group_by, *question.filters}
    raw_only = any(column == "end_user" or column.startswith(TAG) for column in columns)
    edges = sorted(
        {minute_of(cut) for cut in (*question.starts, *question.cuts, question.end) if cut != minute_of(cut)}
    )
    parts = []
    if not raw_only:
        parts.append(_rolled_up(question, parameters, edges))
    if raw_only or edges:
        parts.append(_raw(question, parameters, None if raw_only else edges))
    groups = "".join(f", g{number}" for number in range(len(question.group_by)))
    return f"""
        SELECT {_rounded(question.starts)} AS bucket, {_rounded(question.cuts)} AS segment, tenant, model{groups},
            {", ".join(tables.SUMS)}
        FROM ({" UNION ALL ".join(parts)})"""


def _rounded(moments: Sequence[datetime]) -> str:
    """Return the expression that rounds `at` down to one of the moments, which are numbers of ours."""
    if len(moments) == 1:
        return f"toInt64({micros(moments[0])})"
    return f"roundDown(at, CAST([{', '.join(str(micros(moment)) for moment in moments)}], 'Array(Int64)'))"


def _rolled_up(question: Question, parameters: dict[str, Any], edges: Sequence[datetime]) -> str:
    at = "toUnixTimestamp(bucket) * 1000000"
    but = f"AND {at} NOT IN ({', '.join(str(micros(edge)) for edge in edges)})" if edges else ""
    return f"""
        SELECT toInt64({at}) AS at, tenant, model{_groups(question)}, {", ".join(tables.SUMS)}
        FROM {tables.USAGE_MINUTE}
        WHERE bucket >= toDateTime(intDiv({{start:Int64}}, 1000000), 'UTC')
            AND bucket < toDateTime(intDiv({{end:Int64}} + 999999, 1000000), 'UTC')
            {but}{_filters(question, parameters)}"""


def _raw(question: Question, parameters: dict[str, Any], edges: Sequence[datetime] | None) -> str:
    within = ""
    if edges is not None:
        seconds = ", ".join(str(micros(edge) // 1_000_000) for edge in edges)
        within = f"AND toUnixTimestamp(toStartOfMinute(event_time)) IN ({seconds})"
    tokens = ", ".join(_TOKENS)
    return f"""
        SELECT toInt64(toUnixTimestamp64Micro(event_time)) AS at, tenant, model{_groups(question)},
            toUInt64(1) AS requests, {tokens}, toUInt64(accuracy = 'estimated') AS estimated_requests
        FROM {tables.USAGE}
        WHERE hop = 'root' AND event_time >= fromUnixTimestamp64Micro({{start:Int64}}, 'UTC')
            AND event_time < fromUnixTimestamp64Micro({{end:Int64}}, 'UTC')
            {within}{_filters(question, parameters)}"""


def _groups(question: Question) -> str:
    values = (f"toString({_column(column)})" for column in question.group_by)
    return "".join(f", CAST({value}, 'Nullable(String)') AS g{number}" for number, value in enumerate(values))


def _filters(question: Question, parameters: dict[str, Any]) -> str:
    text = ""
    for number, (column, values) in enumerate(question.filters.items()):
        parameters[f"allowed{number}"] = list(values)
        if column.startswith(TAG):
            parameters[f"filtered{number}"] = column.removeprefix(TAG)
            text += f" AND mapContains(tags, {{filtered{number}:String}})"
            text += f" AND tags[{{filtered{number}:String}}] IN {{allowed{number}:Array(String)}}"
        else:
            text += f" AND `{column}` IN {{allowed{number}:Array(String)}}"
    return text


def _column(column: str) -> str:
    if column.startswith(TAG):
        name = column.removeprefix(TAG)  # letters, digits, `_`, `.` and `-` only
        return f"if(mapContains(tags, '{name}'), tags['{name}'], NULL)"
    return f"`{column}`"
