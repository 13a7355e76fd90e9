from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream_metrics import EngineMetrics, parse

RECORDED = Path(__file__).parents[1] / "transcripts" / "metrics.json"


def test_what_real_vllm_says():
    text = msgspec.json.decode(RECORDED.read_bytes())["response"]["body"]
    found = parse(text)
    assert found == EngineMetrics(
        model="tiny",
        running=0,
        waiting=0,
        kv_cache_usage=0.0,
        prompt_tokens_total=1764,
        generation_tokens_total=465,
        started_at=datetime.fromtimestamp(1.79522044455e09, UTC),
    )


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 500), st.floats(0, 1)), min_size=1, max_size=8))
def test_engines_are_added_up(engines):
    lines = []
    for number, (tokens, waiting, usage) in enumerate(engines):
        labels = f'{{engine="{number}",model_name="m"}}'
        lines += [
            f"vllm:generation_tokens_total{labels} {float(tokens)}",
            f"vllm:num_requests_waiting{labels} {waiting}",
            f'vllm:num_requests_waiting_by_reason{{engine="{number}",model_name="m",reason="capacity"}} 7',
            f"vllm:kv_cache_usage_perc{labels} {usage}",
        ]
    found = parse("\n".join(lines))
    assert found.generation_tokens_total == sum(tokens for tokens, _, _ in engines)
    assert found.waiting == sum(waiting for _, waiting, _ in engines)
    assert found.kv_cache_usage == pytest.approx(sum(usage for _, _, usage in engines) / len(engines))


def test_what_is_not_reported_is_absent():
    assert parse("") == EngineMetrics()
    assert parse("other_metric 5\n").waiting is None


def test_what_is_no_metric_is_an_error():
    with pytest.raises(ValueError):
        parse('vllm:num_requests_waiting{engine="0" x')


@pytest.mark.parametrize("name", ["vllm:num_requests_running", "process_start_time_seconds"])
@pytest.mark.parametrize("figure", ["+Inf", "NaN"])
def test_what_is_no_figure_is_an_error(name, figure):
    with pytest.raises((OverflowError, ValueError)):
        parse(f"{name} {figure}\n")
