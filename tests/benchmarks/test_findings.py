"""What measurements say of the figures that they are given: ratios, goals, and what could not be measured."""

from datetime import UTC, datetime

import pytest

from benchmarks import growth, half_load, open_streams, real_vllm, report, slow_reader, streaming, throughput, workers
from benchmarks.findings import Findings, Goal
from benchmarks.half_load import Latencies
from benchmarks.open_streams import Held
from benchmarks.stand import Plan, Stand
from benchmarks.streaming import INJECTED, Cost
from benchmarks.throughput import Rates
from benchmarks.workers import Capacity


def lines(findings: Findings) -> list[str]:
    return [goal.line() for goal in findings.goals]


def rates(name: str, **changes) -> Rates:
    values = {
        "rate": 100.0,
        "connections": 50.0,
        "p50_alone": 0.001,
        "p99": 0.002,
        "cpu_per_request": 1e-5,
        "resident": 10_000_000,
    }
    return Rates(name=name, **{**values, **changes})


@pytest.mark.parametrize(
    ("value", "sign", "line"),
    [
        (0.4, "≥", "- speed ≥ 0.4 × nginx: met (0.40)"),
        (0.39, "≥", "- speed ≥ 0.4 × nginx: **missed** (0.39)"),
        (0.4, "≤", "- speed ≤ 0.4 × nginx: met (0.40)"),
        (0.41, "≤", "- speed ≤ 0.4 × nginx: **missed** (0.41)"),
        (None, "≤", "- speed ≤ 0.4 × nginx: not measured"),
    ],
)
def test_a_goal_is_judged_by_its_figure(value, sign, line):
    assert Goal("speed", sign, 0.4, " × nginx", value).line() == line


def test_whole_answers_have_ratios_to_each_contestant():
    direct = rates("no proxy", rate=400.0, cpu_per_request=None, resident=None, p50_alone=0.0009)
    results = [direct, rates("nginx"), rates("weighbridge", rate=40.0, connections=20.0), rates("mitmdump", rate=2.0)]
    found = throughput.tell(results, Plan())
    assert "| weighbridge | 40 | 0.40 | 20 | 0.40 | 0.10 ms | 2.00 ms | 10.0 µs | 10.0 MB |" in found.text
    assert "| no proxy | 400 | 4.00 | 50 | 1.00 | – | 2.00 ms | – | – |" in found.text
    assert lines(found) == [
        "- requests/s ≥ 0.4 × nginx: met (0.40)",
        "- requests/s ≥ 35 × mitmdump: **missed** (20.00)",
        "- requests/s ≥ 35 × portkey: not measured",
        "- requests/s ≥ 350 × litellm: not measured",
        "- new connections/s ≥ 0.5 × nginx: **missed** (0.40)",
        "- added p50, c=1 ≤ 0.12 ms: met (0.10)",
    ]


def test_at_half_load_the_99th_percentile_is_less_that_of_no_proxy():
    fast, slow = [0.001] * 98, [0.001] * 97
    results = [
        Latencies("no proxy", [*fast, 0.002, 0.009]),
        Latencies("nginx", [*fast, 0.003, 0.009]),
        Latencies("weighbridge", [*slow, 0.005, 0.006, 0.009]),
    ]
    found = half_load.tell(results, 1000, 12)
    assert "| weighbridge | 1.00 ms | 6.00 ms | 9.00 ms | 4.00 ms |" in found.text
    assert lines(found) == ["- added p99 at half load ≤ 2 ms: **missed** (4.00)"]


def test_streams_are_compared_with_nginx_under_the_same_load():
    results = [
        Cost("nginx", 32, INJECTED, 1e-6, 0.001),
        Cost("nginx", 32, "as asked", 4e-6, 0.001),
        Cost("nginx", 500, INJECTED, 2e-6, 0.001),
        Cost("weighbridge", 32, INJECTED, 1.5e-6, 0.001),
        Cost("weighbridge", 32, "as asked", 8e-6, 0.001),
        Cost("weighbridge", 500, INJECTED, 5e-6, 0.001),
    ]
    found = streaming.tell(results)
    assert "| weighbridge | 32 | as asked | 8.0 µs | 2.00 | 1.00 ms |" in found.text
    assert lines(found) == [
        f"- CPU an event, 32 streams, usage {INJECTED} ≤ 1.6 × nginx: met (1.50)",
        f"- CPU an event, 500 streams, usage {INJECTED} ≤ 1.6 × nginx: **missed** (2.50)",
    ]


def test_open_streams_that_the_machine_does_not_allow_are_added():
    results = [Held("nginx", 8000, 1, 8_000_001, 1), Held("weighbridge", 8000, 60_000_000, 140_000_000, 100_000_000)]
    found = open_streams.tell(results, 10_000, 16_250)
    assert "| weighbridge | 8,000 | 60.0 MB | 140.0 MB | 100.0 MB | 10.0 kB |" in found.text
    assert "16,250 files" in found.text
    assert lines(found) == ["- resident at 10,000 open streams ≤ 150 MB: **missed** (160.00)"]
    assert "files" not in open_streams.tell(results, 8000, 99_999).text


@pytest.mark.parametrize(("files", "streams"), [(20_250, 10_000), (1 << 20, 10_000), (20_000, 9875)])
def test_a_stream_takes_two_files(files, streams):
    assert open_streams.possible(10_000, files) == streams


def test_growth_is_between_two_places():
    assert lines(growth.tell([(20_000, 100_000_000), (120_500, 100_900_000)])) == [
        "- growth over 100,500 requests ≤ 1 MB: met (0.90)"
    ]


def test_what_a_client_that_reads_nothing_adds():
    assert lines(slow_reader.tell({"nginx": 1e5, "weighbridge": 1.5e6}, 200_000_000)) == [
        "- added by a client that reads nothing ≤ 1 MB: **missed** (1.50)"
    ]


@pytest.mark.parametrize(
    ("cores", "line"),
    [
        (2, "- 2 workers, load generator aside ≥ 1.7 × 1 worker: met (1.80)"),
        (4, "- 2 workers, as answered ≥ 1.7 × 1 worker: **missed** (1.10)"),
    ],
)
def test_workers_are_judged_by_what_the_machine_can_show(cores, line):
    found = workers.tell([Capacity(1, 1000, 2000), Capacity(2, 1100, 1800)], cores)
    assert lines(found) == [line]
    assert "1.10 × what one did" in found.text


def test_the_page_has_every_goal_and_every_section():
    found = {
        "Speed": Findings("It is fast.", [Goal("speed", "≥", 2, " × nginx", 3.0)]),
        "Memory": Findings("Left out.", [Goal("memory", "≤", 1, " MB", None)]),
    }
    page = report.page(found, 0.1, datetime(2026, 11, 1, tzinfo=UTC))
    assert "- speed ≥ 2 × nginx: met (3.00)\n- memory ≤ 1 MB: not measured\n" in page
    assert "## Speed\n\nIt is fast.\n\n## Memory\n\nLeft out.\n" in page
    assert "measured 2026-11-01 00:00 UTC" in page


def test_vllm_is_compared_by_the_medians_of_its_rounds():
    results = [
        real_vllm.Pair(real_vllm.OWN_CORE, [90.0, 100.0, 200.0], [10.0, 97.0, 99.0]),
        real_vllm.Pair(real_vllm.SHARED, [100.0], [96.0]),
    ]
    found = real_vllm.tell(results, 100)
    assert "| a core of its own | 100 | 97 | 0.970 |" in found.text
    assert lines(found) == [
        "- `vllm bench serve`, proxy a core of its own ≥ 0.98 × direct: **missed** (0.97)",
        "- `vllm bench serve`, proxy sharing all cores ≥ 0.95 × direct: met (0.96)",
    ]


def test_without_vllm_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(real_vllm, "VENV", tmp_path)
    found = real_vllm.run(Stand(tmp_path, Plan(), {}))
    assert str(tmp_path) in found.text
    assert [goal.met for goal in found.goals] == [None, None]
