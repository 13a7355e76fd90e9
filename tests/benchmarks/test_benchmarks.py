"""The parts of the benchmarks that can be wrong without anybody noticing."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import report, upstream
from benchmarks.ledger import Contiguity, acknowledgement
from benchmarks.load import LoadError, read_wrk
from benchmarks.measure import Plan, Result
from contracts import topics

WRK = """\
Running 1s test @ http://127.0.0.1:1/v1/chat/completions
  Latency Distribution
     50%  228.00us
     75%  250.00us
     90%    1.05ms
     99%    6.15ms
  7390 requests in 1.01s, 5.61MB read
Requests/sec:   7332.03
Transfer/sec:      5.57MB
"""


def test_what_wrk_prints_is_read():
    read = read_wrk(WRK)
    assert (read.rate, read.p50, read.p99) == pytest.approx((7332.03, 228e-6, 6.15e-3))


@pytest.mark.parametrize("output", ["", "unable to connect", WRK + "  Non-2xx or 3xx responses: 7\n"])
def test_a_run_that_failed_is_no_result(output):
    with pytest.raises(LoadError):
        read_wrk(output)


@given(st.permutations(range(1, 30)), st.data())
def test_contiguity_is_the_end_of_what_has_no_gap(order, data):
    held = Contiguity()
    seen = set()
    for sequence in data.draw(st.lists(st.sampled_from(order))):
        held.add(sequence)
        seen.add(sequence)
        assert held.reached == next(number for number in range(31) if number + 1 not in seen)


def test_the_acknowledgement_is_one():
    event = msgspec.json.decode(acknowledgement("gpu-0", "epoch", 12), type=topics.event_type(topics.ACK))
    assert (event.data.producer, event.data.epoch, event.data.contiguous) == ("gpu-0", "epoch", 12)


def test_the_upstream_answers_what_it_says():
    head, _, body = upstream.unary_answer().partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert msgspec.json.decode(body)["usage"]["completion_tokens"] == 64
    events = upstream.stream_events(3)
    assert len(events) == 4
    assert events[-1].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    for event in events[:-1]:
        size, _, rest = event.partition(b"\r\n")
        assert len(rest) == int(size, 16) + 2


def result(name: str, **changes) -> Result:
    values = {
        "rate": 100.0,
        "connections": 50.0,
        "p50_alone": 0.001,
        "p99": 0.002,
        "first_event": 0.003,
        "cpu_per_request": 1e-5,
        "cpu_per_event": 2e-6,
        "resident": 10_000_000,
    }
    return Result(name=name, **{**values, **changes})


def test_the_page_has_ratios_to_nginx_and_says_what_was_missed():
    results = [
        result("no proxy", rate=400.0, cpu_per_request=None, cpu_per_event=None, resident=None, p50_alone=0.0004),
        result("nginx"),
        result("weighbridge", rate=24.0, cpu_per_event=4e-6, resident=151_000_000),
        result("mitmdump", rate=1.0),
    ]
    page = report.page(results, Plan(), 0.1, datetime(2026, 11, 1, tzinfo=UTC))
    assert "| weighbridge | 24 | 0.24 |" in page
    assert "| 0.60 ms |" in page
    assert "0.25 × nginx: **missed** (0.24)" in page
    assert "2 × nginx: met (2.00)" in page
    assert "150 MB: **missed** (151 MB)" in page
