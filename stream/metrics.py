"""The stream's metrics, in a registry of their own."""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from contracts import metrics


@dataclass
class Metrics:
    """What a worker counts; `registry` is what /metrics shows."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    events: Counter = field(init=False)
    dead: Counter = field(init=False)
    batch: Histogram = field(init=False)
    drift: Gauge = field(init=False)

    def __post_init__(self) -> None:
        self.events = metrics.STREAM_EVENTS.counter(self.registry)
        self.dead = metrics.STREAM_DEADLETTERS.counter(self.registry)
        self.batch = metrics.STREAM_BATCH.histogram(self.registry)
        self.drift = metrics.STREAM_DRIFT.gauge(self.registry)
