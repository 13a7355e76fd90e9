# ruff: noqa: S608  # the SQL is put together from the constants of this file alone
"""What the dashboards ask ClickHouse: each query a value with a name. `live` has what they ask Prometheus.

SQL is written for Grafana's ClickHouse data source, whose macros fill in the time range and the interval. It reads only
the views that `contracts.tables` names. A figure that nobody reported stays NULL: sums are of what was reported.
"""

from dataclasses import dataclass
from typing import Final

from contracts import tables

_USAGE: Final = f"{tables.DATABASE}.{tables.USAGE}"
_REQUESTS: Final = f"{tables.DATABASE}.{tables.REQUESTS}"
_MINUTES: Final = f"{tables.DATABASE}.{tables.USAGE_MINUTE}"
_SIGNALS: Final = f"{tables.DATABASE}.{tables.SCALING_SIGNALS}"
_PRODUCERS: Final = f"{tables.DATABASE}.{tables.PRODUCERS}"

_TENANT: Final = "$__conditionalAll(tenant IN (${tenant:sqlstring}), $tenant)"
_MODEL: Final = "$__conditionalAll(model IN (${model:sqlstring}), $model)"
_CHOSEN: Final = f"$__timeFilter(event_time) AND {_TENANT} AND {_MODEL}"
_BUCKET: Final = "$__timeInterval(event_time) AS time"
_LABELS: Final = {"tenant": "tenant", "model_name": "coalesce(model, '(none)') AS model_name"}
_TOKENS: Final = "coalesce(input_tokens + output_tokens, input_tokens, output_tokens)"
_WHOLE: Final = "dateDiff('microsecond', received_at, last_byte_at) / 1000000"
_TO_LEDGER: Final = "dateDiff('millisecond', coalesce(last_byte_at, event_time), stored_at) / 1000"
_TO_FIRST: Final = "dateDiff('microsecond', received_at, first_token_at) / 1000000"


@dataclass(frozen=True)
class Sql:
    """A query to ClickHouse. `series`: its first column is `time` and its text columns tell series apart."""

    name: str
    text: str
    series: bool = True


TENANTS: Final = Sql(
    "tenants", f"SELECT DISTINCT tenant FROM {_USAGE} WHERE $__timeFilter(event_time) ORDER BY tenant", False
)
MODELS: Final = Sql(
    "models",
    f"SELECT DISTINCT model FROM {_USAGE} WHERE $__timeFilter(event_time) AND model IS NOT NULL ORDER BY model",
    False,
)


def _per_second(name: str, label: str, figure: str) -> Sql:
    """Return `figure` a second of admitted requests, a series for each value of `label`."""
    return Sql(
        name,
        f"SELECT {_BUCKET}, {_LABELS[label]}, {figure} / $__interval_s AS per_second FROM {_USAGE} WHERE {_CHOSEN}"
        f" GROUP BY time, {label} ORDER BY time",
    )


REQUESTS_BY_MODEL: Final = _per_second("requests_by_model", "model_name", "count()")
REQUESTS_BY_TENANT: Final = _per_second("requests_by_tenant", "tenant", "count()")
TOKENS_BY_MODEL: Final = _per_second("tokens_by_model", "model_name", f"sum({_TOKENS})")
TOKENS_BY_TENANT: Final = _per_second("tokens_by_tenant", "tenant", f"sum({_TOKENS})")
CONCURRENCY_BY_TENANT: Final = _per_second("concurrency_by_tenant", "tenant", f"sum({_WHOLE})")
"""Seconds that the requests admitted in an interval took, a second: by Little's law how many were in flight on average."""


def _quantiles(name: str, seconds: str) -> Sql:
    """Return p50, p95 and p99 of an expression of seconds over admitted requests, as three series."""
    columns = ", ".join(
        f"quantile({q})({seconds}) AS {alias}" for q, alias in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )
    return Sql(name, f"SELECT {_BUCKET}, {columns} FROM {_USAGE} WHERE {_CHOSEN} GROUP BY time ORDER BY time")


def _p95(name: str, label: str, seconds: str) -> Sql:
    return Sql(
        name,
        f"SELECT {_BUCKET}, {_LABELS[label]}, quantile(0.95)({seconds}) AS p95 FROM {_USAGE} WHERE {_CHOSEN}"
        f" GROUP BY time, {label} ORDER BY time",
    )


DURATION: Final = _quantiles("duration", _WHOLE)
FIRST_TOKEN: Final = _quantiles("first_token", _TO_FIRST)
DURATION_BY_MODEL: Final = _p95("duration_by_model", "model_name", _WHOLE)
DURATION_BY_TENANT: Final = _p95("duration_by_tenant", "tenant", _WHOLE)
FIRST_TOKEN_BY_MODEL: Final = _p95("first_token_by_model", "model_name", _TO_FIRST)
FIRST_TOKEN_BY_TENANT: Final = _p95("first_token_by_tenant", "tenant", _TO_FIRST)

ERRORS_BY_CODE: Final = Sql(
    "errors_by_code",
    "SELECT time, error, count() AS requests FROM ("
    f"SELECT {_BUCKET}, coalesce(error_code, if(outcome != 'completed', outcome, toString(status))) AS error"
    f" FROM {_USAGE} WHERE {_CHOSEN} AND (outcome != 'completed' OR error_code IS NOT NULL OR status >= 400)"
    f" UNION ALL SELECT {_BUCKET}, coalesce(code, decision) AS error FROM {_REQUESTS}"
    f" WHERE {_CHOSEN} AND decision = 'denied'"
    ") GROUP BY time, error ORDER BY time",
)
"""Of admitted requests the error, of denied ones the code."""

DENIED_BY_TENANT: Final = Sql(
    "denied_by_tenant",
    f"SELECT {_BUCKET}, tenant, countIf(decision = 'denied') AS denied, countIf(decision = 'would_deny') AS would_deny"
    f" FROM {_REQUESTS} WHERE {_CHOSEN} GROUP BY time, tenant ORDER BY time",
)
LOAD_BY_MODEL: Final = Sql(
    "load_by_model",
    "SELECT $__timeInterval(as_of) AS time, model, max(in_flight) AS in_flight, max(waiting) AS waiting"
    f" FROM {_SIGNALS} WHERE $__timeFilter(as_of) AND {_MODEL} GROUP BY time, model ORDER BY time",
)
LEDGER_DELAY: Final = Sql(
    "ledger_delay",
    f"SELECT {_BUCKET}, quantile(0.95)({_TO_LEDGER}) AS p95,"
    f" max({_TO_LEDGER}) AS longest"
    f" FROM {_USAGE} WHERE {_CHOSEN} GROUP BY time ORDER BY time",
)
TOP_TENANTS: Final = Sql(
    "top_tenants",
    "SELECT tenant, model, sum(requests) AS requests, sum(input_tokens) AS input_tokens,"
    " sum(output_tokens) AS output_tokens, sum(estimated_requests) AS estimated_requests"
    f" FROM (SELECT tenant, coalesce(model, '(none)') AS model, requests, input_tokens, output_tokens, estimated_requests"
    f" FROM {_MINUTES} WHERE $__timeFilter({tables.BUCKET}) AND {_TENANT} AND {_MODEL})"
    " GROUP BY tenant, model ORDER BY requests DESC, tenant, model LIMIT 50",
    series=False,
)
MISSING_EVENTS: Final = Sql(
    "missing_events",
    "SELECT producer, epoch, contiguous, highest, missing, last_stored_at"
    f" FROM {_PRODUCERS} WHERE missing > 0 ORDER BY missing DESC, producer, epoch LIMIT 50",
    series=False,
)
"""Epochs with gaps: events that a producer numbered and the ledger lacks, whatever the chosen time."""

ALL: Final[tuple[Sql, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Sql))
