"""The Prometheus metrics of requests. They are summed up in plain numbers, and written out every second (`flush`).

A metric's `inc` takes a lock and, with several workers, writes into a mapped file: too much to pay several times a request.
"""

from bisect import bisect_left
from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Histogram

from contracts import metrics
from contracts.events import RequestData, UsageData


class _Observations:
    """Observations of one child of a histogram that were not written out yet."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(metrics.LATENCY_SECONDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(metrics.LATENCY_SECONDS, seconds)] += 1
        self._sum += seconds

    def write(self, child: Histogram) -> None:
        """Add them to the child: prometheus_client itself has no way to observe many at once."""
        for bucket, count in zip(child._buckets, self._counts, strict=True):  # noqa: SLF001
            if count:
                bucket.inc(count)
        child._sum.inc(self._sum)  # noqa: SLF001


class Meters:
    """Counts what exchanges end with. Models are labelled as served, so that clients cannot invent label values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = metrics.REQUESTS.counter(registry)
        self._tokens = metrics.TOKENS.counter(registry)
        self._denied = metrics.DENIED.counter(registry)
        self._duration = metrics.DURATION.histogram(registry)
        self._first_token = metrics.FIRST_TOKEN.histogram(registry)
        self._in_flight = metrics.IN_FLIGHT.gauge(registry)
        self._requests_new: Tally[tuple[str, str, int | None, str]] = Tally()
        self._tokens_new: Tally[tuple[str, str]] = Tally()
        self._denied_new: Tally[str | None] = Tally()
        self._duration_new: dict[str, _Observations] = {}
        self._first_token_new: dict[str, _Observations] = {}

    def deny(self, decision: RequestData) -> None:
        """Count a denial."""
        self._denied_new[decision.code] += 1

    def settle(self, usage: UsageData) -> None:
        """Count the end of an admitted request."""
        model = usage.served_model or "unknown"
        self._requests_new[model, usage.endpoint, usage.status, usage.outcome] += 1
        if usage.input_tokens is not None:
            self._tokens_new[model, "input"] += usage.input_tokens
        if usage.output_tokens is not None:
            self._tokens_new[model, "output"] += usage.output_tokens
        received = usage.received_at
        if usage.last_byte_at is not None:
            _observe(self._duration_new, model, (usage.last_byte_at - received).total_seconds())
        if usage.first_token_at is not None:
            _observe(self._first_token_new, model, (usage.first_token_at - received).total_seconds())

    def flush(self, in_flight: int) -> None:
        """Write out what was counted since the last time, and how many requests run."""
        self._in_flight.set(in_flight)
        for (model, endpoint, status, outcome), count in self._requests_new.items():
            self._requests.labels(model, endpoint, str(status), outcome).inc(count)
        for (model, kind), count in self._tokens_new.items():
            self._tokens.labels(model, kind).inc(count)
        for code, count in self._denied_new.items():
            self._denied.labels(code).inc(count)
        for model, observations in self._duration_new.items():
            observations.write(self._duration.labels(model))
        for model, observations in self._first_token_new.items():
            observations.write(self._first_token.labels(model))
        for counts in (
            self._requests_new,
            self._tokens_new,
            self._denied_new,
            self._duration_new,
            self._first_token_new,
        ):
            counts.clear()


def _observe(observations: dict[str, _Observations], model: str, seconds: float) -> None:
    known = observations.get(model)
    if known is None:
        known = observations[model] = _Observations()
    known.add(seconds)
