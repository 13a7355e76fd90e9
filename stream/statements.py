# ruff: noqa: S608  # built from constants of ours; what comes from outside is a parameter
"""The SQL that the stream runs, apart from its migrations. `%(…)s` are parameters that the client quotes."""

from typing import Final

from contracts import tables
from contracts.limits import SubjectKind

_WINDOW: Final = "(tenant, toStartOfMinute(event_time)) IN %(windows)s"
_IDENTITY: Final = "(tenant, toStartOfMinute(event_time), source, id, content_hash)"
_TOKENS: Final = tuple(column for column in tables.SUMS if column.endswith("_tokens"))
_GROUPS: Final = tuple(f"`{column}`" for column in tables.GROUPS if column != "tenant")


def _excluded(kind: str) -> str:
    return f"(SELECT tenant, minute, source, id, content_hash FROM excluded_events WHERE kind = '{kind}')"


def conflicting_windows(kind: str) -> str:
    """Return the query for windows in which an id stands more than once with different contents, not yet excluded."""
    return f"""
        SELECT tenant, toUnixTimestamp(minute) AS minute FROM (
            SELECT tenant, toStartOfMinute(event_time) AS minute, source, id
            FROM {kind}_events FINAL WHERE {_WINDOW} AND {_IDENTITY} NOT IN {_excluded(kind)}
        ) GROUP BY tenant, minute HAVING count() != uniqExact(source, id)"""


def exclude_conflicts(kind: str) -> str:
    """Return the statement that names, in the given windows, every row of an id but the one stored first."""
    return f"""
        INSERT INTO excluded_events (kind, tenant, minute, source, id, content_hash, reason, excluded_at)
        SELECT '{kind}', tenant, minute, source, id, content_hash, 'conflict', fromUnixTimestamp64Micro(toInt64(%(now)s), 'UTC')
        FROM (
            SELECT tenant, toStartOfMinute(event_time) AS minute, source, id, content_hash,
                row_number() OVER (PARTITION BY tenant, minute, source, id ORDER BY stored_at, content_hash) AS place
            FROM {kind}_events FINAL WHERE {_WINDOW}
        ) WHERE place > 1"""


def _roll_up() -> str:
    counted = "root AND NOT excluded"
    sums = ", ".join(f"sumIf({token}, {counted}) AS {token}" for token in _TOKENS)
    figures = ", ".join(("requests", *_TOKENS, "estimated_requests"))
    groups = ", ".join(_GROUPS)
    return f"""
        INSERT INTO usage_windows (tenant, minute, generation, groups)
        SELECT tenant, minute, sum(seen), groupArrayIf(({groups}, {figures}), requests > 0)
        FROM (
            SELECT tenant, minute, {groups}, count() + countIf(excluded) AS seen, countIf({counted}) AS requests,
                {sums}, countIf({counted} AND estimated) AS estimated_requests
            FROM (
                SELECT tenant, toStartOfMinute(event_time) AS minute, {groups}, {", ".join(_TOKENS)},
                    hop = 'root' AS root, accuracy = 'estimated' AS estimated, {_IDENTITY} IN {_excluded("usage")} AS excluded
                FROM usage_events FINAL WHERE {_WINDOW}
            ) GROUP BY tenant, minute, {groups}
        ) GROUP BY tenant, minute"""


ROLL_UP: Final = _roll_up()
"""Recomputes windows from the ledger. Only the root request of a chain (prefill, decode, retry) is counted."""

RANGES: Final = """
    SELECT producer, epoch, writer, ranges FROM producer_sequences FINAL WHERE (producer, epoch) IN %(epochs)s"""

RANGES_OF_EPOCHS: Final = """
    SELECT producer, epoch, writer, ranges FROM producer_sequences FINAL WHERE epoch IN %(epochs)s"""

DAY_FIGURES: Final = """
    SELECT tenant, sum(generation) AS generation, sum(day_requests) AS requests, sum(day_input) AS input_tokens,
        sum(day_output) AS output_tokens
    FROM (
        SELECT tenant, generation, arraySum(g -> g.requests, groups) AS day_requests,
            arraySum(g -> ifNull(g.input_tokens, 0), groups) AS day_input,
            arraySum(g -> ifNull(g.output_tokens, 0), groups) AS day_output
        FROM usage_windows FINAL
        WHERE tenant IN %(tenants)s
            AND minute >= toDateTime(%(start)s, 'UTC') AND minute < toDateTime(%(end)s, 'UTC')
    ) GROUP BY tenant"""


def counter_totals(kind: SubjectKind) -> str:
    """Return the query for what subjects used, by model, and, as `whole`, for the generation of each tenant's windows.

    Both come from one reading of the table: a total that is newer than its generation could be replaced by an older one.
    """
    subject = "tenant" if kind == "tenant" else f"ifNull(g.`{kind}`, '')"
    return f"""
        SELECT tenant, part.1 AS whole, part.2 AS subject, part.3 AS model, sum(part.4) AS requests,
            sum(part.5) AS input_tokens, sum(part.6) AS output_tokens
        FROM usage_windows FINAL
        ARRAY JOIN arrayConcat(
            [(true, '', '', generation, toUInt64(0), toUInt64(0))],
            arrayMap(g -> (
                false, {subject}, ifNull(g.model, ''), g.requests, ifNull(g.input_tokens, 0), ifNull(g.output_tokens, 0)
            ), groups)
        ) AS part
        WHERE tenant IN %(tenants)s
            AND minute >= toDateTime(%(start)s, 'UTC') AND minute < toDateTime(%(end)s, 'UTC')
            AND (whole OR (tenant, subject) IN %(subjects)s)
        GROUP BY tenant, whole, subject, model"""
