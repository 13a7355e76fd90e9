"""Every Prometheus metric that any service exports: its name, what it means, its labels. Nothing else names a metric.

Dashboards and alerts are checked against `ALL`.
"""

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass(frozen=True)
class Metric:
    """A metric's name and meaning. Labels have few values: never a tenant's free text."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def counter(self, registry: CollectorRegistry) -> Counter:
        """Register it as a counter."""
        return Counter(self.name, self.help, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """Register it as a gauge that adds up over worker processes."""
        return Gauge(self.name, self.help, self.labels, registry=registry, multiprocess_mode="livesum")

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """Register it as a histogram of seconds."""
        return Histogram(self.name, self.help, self.labels, registry=registry, buckets=LATENCY_SECONDS)


REQUESTS: Final = Metric("weighbridge_requests_total", "Requests answered.", ("model", "endpoint", "status", "outcome"))
TOKENS: Final = Metric("weighbridge_tokens_total", "Tokens metered.", ("model", "type"))
DENIED: Final = Metric("weighbridge_denied_total", "Requests refused by the proxy.", ("code",))
WOULD_DENY: Final = Metric(
    "weighbridge_would_deny_total", "Requests let through in shadow that would have been refused.", ("code",)
)
DURATION: Final = Metric(
    "weighbridge_request_duration_seconds", "From the request's head to its last byte.", ("model",)
)
FIRST_TOKEN: Final = Metric(
    "weighbridge_time_to_first_token_seconds", "From the request's head to the first token.", ("model",)
)
IN_FLIGHT: Final = Metric("weighbridge_inflight_requests", "Requests forwarded and not yet answered.")
QUEUED: Final = Metric("weighbridge_queued_requests", "Requests that wait to be forwarded.")
SPOOL_BYTES: Final = Metric("weighbridge_spool_bytes", "Bytes in the spool that the ledger has not acknowledged.")
LEDGER_LAG: Final = Metric(
    "weighbridge_ledger_lag_seconds", "Age of the oldest event that the ledger has not acknowledged."
)
PUBLISHED: Final = Metric("weighbridge_published_events_total", "Events sent to Kafka, repeats included.", ("topic",))
IDENTITY_FAILURES: Final = Metric(
    "weighbridge_identity_failures_total",
    "Keys and tokens that nobody holds (unknown, malformed, token), and such as were not looked at (throttled).",
    ("reason",),
)
REDIS_UP: Final = Metric("weighbridge_redis_up", "Whether Redis answers this process (1) or not (0).")
LIMITS_UP: Final = Metric(
    "weighbridge_limits_up", "Whether limits can be asked (1), or their outage policies hold in this process (0)."
)
UPSTREAM_UP: Final = Metric(
    "weighbridge_upstream_up", "Whether the vLLM server answers its health check.", ("upstream",)
)
PROMPT_COPIES: Final = Metric(
    "weighbridge_prompt_copies_total", "Copies of prompts and answers that were sent to Kafka, or lost.", ("result",)
)
CONNECT_FAILURES: Final = Metric(
    "weighbridge_upstream_connect_failures_total",
    "Connections to the vLLM server that did not come about.",
    ("upstream",),
)
SHORT_CIRCUIT: Final = Metric(
    "weighbridge_upstream_short_circuit",
    "Processes that answer 502 at once because no connection to the vLLM server comes about.",
    ("upstream",),
)

STREAM_EVENTS: Final = Metric(
    "weighbridge_stream_events_total", "Events taken from Kafka, repeats included.", ("topic",)
)
STREAM_DEADLETTERS: Final = Metric(
    "weighbridge_stream_deadletters_total", "Records that could not be read.", ("reason",)
)
STREAM_BATCH: Final = Metric("weighbridge_stream_batch_seconds", "From a batch taken to its offsets free to commit.")
STREAM_DRIFT: Final = Metric(
    "weighbridge_limit_drift",
    "What the ledger has beyond what the counters of days and months were told (less: below 0), since the process started.",
    ("meter",),
)

API_REQUESTS: Final = Metric(
    "weighbridge_api_requests_total", "Requests to the billing API.", ("route", "method", "status")
)
API_DURATION: Final = Metric("weighbridge_api_request_duration_seconds", "Time the billing API took.", ("route",))
PROJECTION_LAG: Final = Metric("weighbridge_projection_lag_revisions", "SQL revisions that Redis does not hold yet.")

ALL: Final[tuple[Metric, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
