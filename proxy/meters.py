"""The Prometheus metrics of requests. They are summed up in plain numbers, and written out every second (`flush`).

A metric's `inc` takes a lock and, with several workers, writes into a mapped file: too much to pay several times a request.
"""

from bisect import bisect_left
from collections import Counter as Tally
from typing import Final

from prometheus_client import CollectorRegistry, Histogram

from contracts import metrics
from contracts.events import RequestData, UsageData

_BOUNDS: Final = metrics.LATENCY_SECONDS


class _Observations:
    """Observations of one child of a histogram that were not written out yet."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(metrics.LATENCY_SECONDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds

    def write(self, child: Histogram) -> None:
        """Add them to the child: prometheus_client itself has no way to observe many at once."""
        for bucket, count in zip(child._buckets, self._counts, strict=True):  # noqa: SLF001
            if count:
                bucket.inc(count)
        child._sum.inc(self._sum)  # noqa: SLF001


class _Ended:
    """What ended alike since the last time: by model, endpoint, status and outcome."""

    __slots__ = ("duration", "first_token", "input", "output", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.input: int | None = None
        self.output: int | None = None
        self.duration = _Observations()
        self.first_token = _Observations()


class _Written:
    """The metrics, which exist once in a process."""

    __slots__ = (
        "denied",
        "duration",
        "first_token",
        "in_flight",
        "queued",
        "requests",
        "tokens",
        "would_deny",
    )

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = metrics.REQUESTS.counter(registry)
        self.tokens = metrics.TOKENS.counter(registry)
        self.denied = metrics.DENIED.counter(registry)
        self.would_deny = metrics.WOULD_DENY.counter(registry)
        self.duration = metrics.DURATION.histogram(registry)
        self.first_token = metrics.FIRST_TOKEN.histogram(registry)
        self.in_flight = metrics.IN_FLIGHT.gauge(registry)
        self.queued = metrics.QUEUED.gauge(registry)


class Meters:
    """Counts what exchanges end with. Models are labelled as served, so that clients cannot invent label values.

    `other`: meters of another upstream of this process, which are written into the same metrics.
    """

    __slots__ = ("_doubted", "_ended", "_refused", "family", "now", "written")

    def __init__(self, registry: CollectorRegistry, other: "Meters | None" = None) -> None:
        self.now = (0, 0)
        self.written: _Written = _Written(registry) if other is None else other.written
        self.family: list[Meters] = [] if other is None else other.family
        self.family.append(self)
        self._ended: dict[tuple[str | None, str, int | None, str], _Ended] = {}
        self._refused: Tally[str | None] = Tally()
        self._doubted: Tally[str | None] = Tally()

    def deny(self, decision: RequestData) -> None:
        """Count a denial."""
        self._refused[decision.code] += 1

    def doubt(self, decision: RequestData) -> None:
        """Count a request that was let through and would have been denied."""
        self._doubted[decision.code] += 1

    def settle(self, usage: UsageData) -> None:
        """Count the end of an admitted request."""
        labels = (usage.served_model, usage.endpoint, usage.status, usage.outcome)
        ended = self._ended.get(labels)
        if ended is None:
            ended = self._ended[labels] = _Ended()
        ended.requests += 1
        given, made = usage.input_tokens, usage.output_tokens
        if given is not None:
            ended.input = given if ended.input is None else ended.input + given
        if made is not None:
            ended.output = made if ended.output is None else ended.output + made
        received, first, last = usage.received_at, usage.first_token_at, usage.last_byte_at
        seconds = 0.0
        if last is not None:
            seconds = (last - received).total_seconds()
            ended.duration.add(seconds)
        if first is not None:
            ended.first_token.add(seconds if first is last else (first - received).total_seconds())

    def flush(self, in_flight: int, queued: int) -> None:
        """Write out what was counted since the last time, and how many requests run and wait."""
        written = self.written
        self.now = (in_flight, queued)
        written.in_flight.set(sum(each.now[0] for each in self.family))
        written.queued.set(sum(each.now[1] for each in self.family))
        for (served, endpoint, status, outcome), ended in self._ended.items():
            model = served or "unknown"
            written.requests.labels(model, endpoint, str(status), outcome).inc(ended.requests)
            if ended.input is not None:
                written.tokens.labels(model, "input").inc(ended.input)
            if ended.output is not None:
                written.tokens.labels(model, "output").inc(ended.output)
            ended.duration.write(written.duration.labels(model))
            ended.first_token.write(written.first_token.labels(model))
        for code, count in self._refused.items():
            written.denied.labels(code).inc(count)
        for code, count in self._doubted.items():
            written.would_deny.labels(code).inc(count)
        self._ended.clear()
        self._refused.clear()
        self._doubted.clear()
