"""The parts of the benchmarks that can be wrong without anybody noticing."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import upstream
from benchmarks.ledger import Contiguity, acknowledgement
from benchmarks.load import LoadError, read_wrk
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
    assert (read.rate, read.requests, read.p50, read.p99) == pytest.approx((7332.03, 7390, 228e-6, 6.15e-3))


NOTHING = WRK.replace("  7390 requests", "  0 requests")


@pytest.mark.parametrize("output", ["", "unable to connect", NOTHING, WRK + "  Non-2xx or 3xx responses: 7\n"])
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


KINDS = {
    b"{}": (False, False),
    b'{"stream_options":{"include_usage":true}}': (False, True),
    b'{"stream_options":{"include_usage":true,"continuous_usage_stats":true}}': (True, True),
}


@pytest.mark.parametrize(("asked", "usage"), KINDS.items())
def test_the_upstream_reports_usage_where_it_is_asked_for(asked, usage):
    continuous, total = usage
    made = upstream.Answers.make(3, 0, 1).to(b'{"stream":true,' + asked[1:])
    assert made is not None
    events = [payload(chunk) for chunk in made.events]
    assert len(events) == 3
    assert [event.get("usage", {}).get("completion_tokens") for event in events] == (
        [1, 2, 3] if continuous else [None] * 3
    )
    assert made.end.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert (b'"completion_tokens":3' in made.end) == total


def test_the_upstream_streams_only_where_it_is_asked_to():
    assert upstream.Answers.make(3, 0, 1).to(b'{"max_tokens":64}') is None


def payload(chunk: bytes) -> dict[str, Any]:
    """The event in a chunk, whose framing must be right."""
    size, _, rest = chunk.partition(b"\r\n")
    assert len(rest) == int(size, 16) + 2
    return msgspec.json.decode(rest.removeprefix(b"data: "), type=dict[str, Any])
