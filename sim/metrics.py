"""What the engine did, under vLLM's names on `/metrics`.

As in vLLM, each choice is a request of its own here: a prompt that is answered n times counts n times, and it counts with
its first token, so that a request which is cut before then leaves no prompt tokens. The gauges of requests are the exception:
they count whole requests, because the simulator lets in whole requests.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

_SECONDS: Final = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_FIRST: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640),
    2560,
)
_BETWEEN: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_TOKENS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
_REASONS: Final = ("stop", "length", "abort", "error", "repetition")


class Distribution:
    """A histogram that costs a search and two additions an observation."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """Return what Prometheus wants: counts up to each bound, and the sum."""
        total = 0
        rows: list[tuple[str, float]] = []
        for bound, count in zip((*map(repr, map(float, self._bounds)), "+Inf"), self._counts, strict=True):
            total += count
            rows.append((bound, total))
        return rows, self._sum


class Counters:
    """The engine's figures; whoever changes the engine's state adds here."""

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.held_tokens = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generation_tokens = 0
        self.cache_queries = 0
        self.cache_hits = 0
        self.finished = dict.fromkeys(_REASONS, 0)
        self.first_token = Distribution(_FIRST)
        self.between_tokens = Distribution(_BETWEEN)
        self.latency = Distribution(_SECONDS)
        self.queue_time = Distribution(_SECONDS)
        self.request_prompt_tokens = Distribution(_TOKENS)
        self.request_generation_tokens = Distribution(_TOKENS)


class VllmCollector(Collector):
    """Shows `Counters` in the text format, with vLLM's labels; `created` is the Unix time of the engine's start."""

    def __init__(self, counters: Counters, model: str, block_size: int, cache_blocks: int, created: float) -> None:
        self._counters = counters
        self._labels = {"engine": "0", "model_name": model}
        self._cache = {"block_size": str(block_size), "num_gpu_blocks": str(cache_blocks)}
        self._cache_tokens = block_size * cache_blocks
        self._created = created

    def collect(self) -> Iterator[Metric]:
        """Yield every family, each read at this moment."""
        yield from self._gauges()
        yield from self._totals()
        yield from self._distributions()

    def _gauges(self) -> Iterator[Metric]:
        at = self._counters
        yield self._gauge("num_requests_running", "Number of requests in model execution batches.", at.running)
        yield self._gauge("num_requests_waiting", "Number of requests waiting to be processed.", at.waiting)
        reasons = GaugeMetricFamily(
            "vllm:num_requests_waiting_by_reason",
            "Number of waiting requests by reason.",
            labels=("engine", "model_name", "reason"),
        )
        for reason, value in (("capacity", at.waiting), ("deferred", 0)):
            reasons.add_metric((*self._labels.values(), reason), value)
        yield reasons
        usage = min(at.held_tokens / self._cache_tokens, 1.0)
        yield self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", usage)
        config = GaugeMetricFamily(
            "vllm:cache_config_info",
            "Information of the LLMEngine CacheConfig",
            labels=("block_size", "engine", "num_gpu_blocks"),
        )
        config.add_metric((self._cache["block_size"], "0", self._cache["num_gpu_blocks"]), 1)
        yield config

    def _totals(self) -> Iterator[Metric]:
        at = self._counters
        for name, text, value in (
            ("prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", at.cache_queries),
            ("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", at.cache_hits),
            ("num_preemptions", "Cumulative number of preemption from the engine.", 0),
            ("prompt_tokens", "Number of prefill tokens processed.", at.prompt_tokens),
            ("prompt_tokens_cached", "Number of cached prompt tokens (local + external).", at.cached_tokens),
            ("generation_tokens", "Number of generation tokens processed.", at.generation_tokens),
        ):
            family = CounterMetricFamily(f"vllm:{name}", text, labels=tuple(self._labels))
            family.add_metric(tuple(self._labels.values()), value, created=self._created)
            yield family
        success = CounterMetricFamily(
            "vllm:request_success",
            "Count of successfully processed requests.",
            labels=("engine", "finished_reason", "model_name"),
        )
        for reason, count in at.finished.items():
            labels = (self._labels["engine"], reason, self._labels["model_name"])
            success.add_metric(labels, count, created=self._created)
        yield success

    def _distributions(self) -> Iterator[Metric]:
        at = self._counters
        for name, text, shown in (
            ("request_prompt_tokens", "Number of prefill tokens processed.", at.request_prompt_tokens),
            ("request_generation_tokens", "Number of generation tokens processed.", at.request_generation_tokens),
            ("time_to_first_token_seconds", "Histogram of time to first token in seconds.", at.first_token),
            ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", at.between_tokens),
            ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", at.latency),
            (
                "request_queue_time_seconds",
                "Histogram of time spent in WAITING phase for request.",
                at.queue_time,
            ),
        ):
            family = HistogramMetricFamily(f"vllm:{name}", text, labels=tuple(self._labels))
            buckets, total = shown.cumulated()
            family.add_metric(tuple(self._labels.values()), buckets, total)
            yield family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=tuple(self._labels))
        family.add_metric(tuple(self._labels.values()), value)
        return family


class Exposition:
    """The page that `/metrics` shows: the process, then the engine."""

    def __init__(self, collector: VllmCollector) -> None:
        self._registry = CollectorRegistry()
        GCCollector(self._registry)
        PlatformCollector(self._registry)
        ProcessCollector(registry=self._registry)
        self._registry.register(collector)

    def render(self) -> bytes:
        """Return the page in Prometheus' text format."""
        return generate_latest(self._registry)
