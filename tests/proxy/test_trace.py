"""W3C Trace Context: passed to vLLM as it came, and its trace id recorded where it is one."""

import pytest

from tests.proxy.memory import Bench, post
from tests.proxy.serving import BODY, CHAT, unary

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STATE = b"tracestate: congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"


def recorded(*fields: bytes) -> tuple[Bench, bytes]:
    """Send a request with these headers; return what vLLM got."""
    bench = Bench()
    bench.send(post(CHAT, BODY, *fields))
    went_up = bench.upstream.take()
    for piece in unary(None):  # type: ignore[arg-type]
        assert isinstance(piece, bytes)
        bench.answer(piece)
    return bench, went_up


@pytest.mark.parametrize(
    "parent",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-ff",
        f"01-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-comes-later",
    ],
)
def test_the_trace_stands_in_both_events(parent: str) -> None:
    field = b"TraceParent: " + parent.encode()
    bench, went_up = recorded(field, STATE)
    assert b"\r\n%b\r\n%b\r\n" % (field, STATE) in went_up
    assert [bench.recorder.decisions[0].trace_id, bench.usage.trace_id] == [TRACE, TRACE]


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}x-{SPAN}-01",
    ],
)
def test_what_is_no_trace_is_passed_and_not_recorded(parent: str) -> None:
    field = b"traceparent: " + parent.encode()
    bench, went_up = recorded(field, STATE)
    assert b"\r\n%b\r\n%b\r\n" % (field, STATE) in went_up
    assert [bench.recorder.decisions[0].trace_id, bench.usage.trace_id] == [None, None]


def test_two_parents_are_none() -> None:
    first, second = (f"traceparent: 00-{trace}-{SPAN}-01".encode() for trace in (TRACE, "a" * 32))
    bench, went_up = recorded(first, second)
    assert b"\r\n%b\r\n%b\r\n" % (first, second) in went_up
    assert bench.usage.trace_id is None


def test_a_denial_has_it_too() -> None:
    bench = Bench()
    bench.send(post(CHAT, BODY, f"traceparent: 00-{TRACE}-{SPAN}-01".encode(), key=None))
    assert [(one.decision, one.trace_id) for one in bench.recorder.decisions] == [("denied", TRACE)]
