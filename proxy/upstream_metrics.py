"""What vLLM says about itself on `/metrics`: pure parsing. Several engines of one server are added up."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

RUNNING: Final = "vllm:num_requests_running"
WAITING: Final = "vllm:num_requests_waiting"
KV_USAGE: Final = "vllm:kv_cache_usage_perc"
PROMPT_TOKENS: Final = "vllm:prompt_tokens_total"
GENERATION_TOKENS: Final = "vllm:generation_tokens_total"
STARTED: Final = "process_start_time_seconds"
_NAMES: Final = (RUNNING, WAITING, KV_USAGE, PROMPT_TOKENS, GENERATION_TOKENS, STARTED)


class EngineMetrics(msgspec.Struct, frozen=True):
    """One reading. None: not reported. `kv_cache_usage` is the mean over the engines, from 0 to 1."""

    model: str | None = None
    running: int | None = None
    waiting: int | None = None
    kv_cache_usage: float | None = None
    prompt_tokens_total: int | None = None
    generation_tokens_total: int | None = None
    started_at: datetime | None = None


def parse(text: str) -> EngineMetrics:
    """Read Prometheus' text format. Raises ValueError when a line is none, OverflowError when a count is infinite."""
    samples: dict[str, list[Sample]] = {}
    lines = [line for line in text.splitlines() if line.startswith(_NAMES)]  # the rest are a thousand histogram lines
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    models = [
        sample.labels["model_name"] for found in samples.values() for sample in found if "model_name" in sample.labels
    ]
    usage, started = samples.get(KV_USAGE), samples.get(STARTED)
    return EngineMetrics(
        model=models[0] if models else None,
        running=_total(samples.get(RUNNING)),
        waiting=_total(samples.get(WAITING)),
        kv_cache_usage=min(max(sum(sample.value for sample in usage) / len(usage), 0.0), 1.0) if usage else None,
        prompt_tokens_total=_total(samples.get(PROMPT_TOKENS)),
        generation_tokens_total=_total(samples.get(GENERATION_TOKENS)),
        started_at=datetime.fromtimestamp(started[0].value, UTC) if started else None,
    )


def _total(samples: list[Sample] | None) -> int | None:
    return None if samples is None else int(sum(sample.value for sample in samples))
