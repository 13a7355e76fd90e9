"""The Prometheus metrics of requests. Label children are looked up once and kept."""

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Histogram

from contracts import metrics
from contracts.events import RequestData, UsageData

_CHILDREN = 4096


class _Model:
    """The children of one model."""

    __slots__ = ("duration", "first_token", "input", "output")

    def __init__(self, meters: "Meters", model: str) -> None:
        self.input: Counter = meters.tokens.labels(model, "input")
        self.output: Counter = meters.tokens.labels(model, "output")
        self.duration: Histogram = meters.duration.labels(model)
        self.first_token: Histogram = meters.first_token.labels(model)


class Meters:
    """Counts what exchanges end with. Models are labelled as served, so that clients cannot invent label values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = metrics.REQUESTS.counter(registry)
        self.tokens = metrics.TOKENS.counter(registry)
        self.denied = metrics.DENIED.counter(registry)
        self.duration = metrics.DURATION.histogram(registry)
        self.first_token = metrics.FIRST_TOKEN.histogram(registry)
        self.in_flight = metrics.IN_FLIGHT.gauge(registry)
        self._request = lru_cache(_CHILDREN)(self.requests.labels)
        self._model = lru_cache(_CHILDREN)(lambda model: _Model(self, model))

    def deny(self, decision: RequestData) -> None:
        """Count a denial."""
        self.denied.labels(decision.code).inc()

    def settle(self, usage: UsageData) -> None:
        """Count the end of an admitted request."""
        name = usage.served_model or "unknown"
        self._request(name, usage.endpoint, str(usage.status), usage.outcome).inc()
        model = self._model(name)
        if usage.input_tokens is not None:
            model.input.inc(usage.input_tokens)
        if usage.output_tokens is not None:
            model.output.inc(usage.output_tokens)
        received = usage.received_at
        if usage.last_byte_at is not None:
            model.duration.observe((usage.last_byte_at - received).total_seconds())
        if usage.first_token_at is not None:
            model.first_token.observe((usage.first_token_at - received).total_seconds())
