"""What the dashboards ask Prometheus: each query a value with a name. Metrics are those of `contracts.metrics` alone.

Live figures come from here, also while Kafka, ClickHouse or the stream is away; history and tenants come from ClickHouse.
"""

from dataclasses import dataclass
from typing import Final

from contracts import metrics
from contracts.metrics import Metric

_MODEL: Final = '{model=~"$model"}'


@dataclass(frozen=True)
class PromQL:
    """A query to Prometheus; `legend` is Grafana's template for the name of a series."""

    name: str
    expression: str
    legend: str


def _rate(metric: Metric) -> str:
    return f"rate({metric.name}{_MODEL if 'model' in metric.labels else ''}[$__rate_interval])"


def _quantile(metric: Metric, percent: int) -> PromQL:
    buckets = f"rate({metric.name}_bucket{_MODEL if 'model' in metric.labels else ''}[$__rate_interval])"
    expression = f"histogram_quantile({percent / 100:g}, sum by (le) ({buckets}))"
    return PromQL(f"{metric.name}_p{percent}", expression, f"p{percent}")


REQUESTS: Final = PromQL("requests", f"sum({_rate(metrics.REQUESTS)})", "requests")
REQUESTS_BY_OUTCOME: Final = PromQL(
    "requests_by_outcome", f"sum by (outcome) ({_rate(metrics.REQUESTS)})", "{{outcome}}"
)
REQUESTS_BY_STATUS: Final = PromQL("requests_by_status", f"sum by (status) ({_rate(metrics.REQUESTS)})", "{{status}}")
TOKENS: Final = PromQL("tokens", f"sum({_rate(metrics.TOKENS)})", "tokens")
TOKENS_BY_TYPE: Final = PromQL("tokens_by_type", f"sum by (type) ({_rate(metrics.TOKENS)})", "{{type}}")
DENIED: Final = PromQL("denied", f"sum({_rate(metrics.DENIED)})", "denied")
DENIED_BY_CODE: Final = PromQL("denied_by_code", f"sum by (code) ({_rate(metrics.DENIED)})", "{{code}}")
DURATION: Final = tuple(_quantile(metrics.DURATION, percent) for percent in (50, 95, 99))
FIRST_TOKEN: Final = tuple(_quantile(metrics.FIRST_TOKEN, percent) for percent in (50, 95, 99))

IN_FLIGHT: Final = PromQL("in_flight", f"sum({metrics.IN_FLIGHT.name})", "in flight")
QUEUED: Final = PromQL("queued", f"sum({metrics.QUEUED.name})", "queued")
IN_FLIGHT_BY_PROXY: Final = PromQL(
    "in_flight_by_proxy", f"sum by (instance) ({metrics.IN_FLIGHT.name})", "{{instance}}"
)

LEDGER_LAG: Final = PromQL("ledger_lag", f"max({metrics.LEDGER_LAG.name})", "oldest event")
LEDGER_LAG_BY_PROXY: Final = PromQL(
    "ledger_lag_by_proxy", f"max by (instance) ({metrics.LEDGER_LAG.name})", "{{instance}}"
)
SPOOL: Final = PromQL("spool", f"sum by (instance) ({metrics.SPOOL_BYTES.name})", "{{instance}}")
UPSTREAMS_DOWN: Final = PromQL("upstreams_down", f"count({metrics.UPSTREAM_UP.name} == 0) or vector(0)", "down")
REDIS_UP: Final = PromQL("redis_up", f"min by (job) ({metrics.REDIS_UP.name})", "Redis as seen by {{job}}")
PROJECTION_LAG: Final = PromQL("projection_lag", f"max({metrics.PROJECTION_LAG.name})", "revisions Redis lacks")
PUBLISHED: Final = PromQL("published", f"sum by (topic) ({_rate(metrics.PUBLISHED)})", "sent {{topic}}")
CONSUMED: Final = PromQL("consumed", f"sum by (topic) ({_rate(metrics.STREAM_EVENTS)})", "read {{topic}}")
DEADLETTERS: Final = PromQL("deadletters", f"sum by (reason) ({_rate(metrics.STREAM_DEADLETTERS)})", "{{reason}}")
BATCH: Final = tuple(_quantile(metrics.STREAM_BATCH, percent) for percent in (50, 99))
API_BY_STATUS: Final = PromQL("api_by_status", f"sum by (status) ({_rate(metrics.API_REQUESTS)})", "{{status}}")
API_DURATION: Final = tuple(_quantile(metrics.API_DURATION, percent) for percent in (50, 95, 99))
