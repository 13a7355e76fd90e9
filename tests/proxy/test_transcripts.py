"""Every recorded answer of real vLLM to chat and completions, through the lane, cut at every byte."""

from itertools import pairwise

import msgspec
import pytest

from tests.proxy import recorded
from tests.proxy.memory import Bench, post, responses
from tests.proxy.recorded import Recorded, load, nameless, with_usage

EVERY = recorded.generation()
WHOLE = [one for one in EVERY if not one.cut and one.name != "error_invalid_json"]  # that one we refuse ourselves
BY_NAME = pytest.mark.parametrize("one", WHOLE, ids=lambda one: one.name)


def run(bench: Bench, one: Recorded, wire: bytes, *cuts: int) -> bytes:
    """Send the recorded request; let vLLM answer `wire` in pieces."""
    bench.forget()
    bench.send(post(one.path, one.request))
    bounds = [0, *cuts, len(wire)]
    bench.answer(*[wire[start:end] for start, end in pairwise(bounds)])
    (response,) = responses(bench.client.take())
    assert response.whole
    assert response.status == one.status
    ours = {b"x-request-id", b"connection"}
    passed = [field for field in response.headers if field[0] not in ours]
    assert passed == [field for field in one.headers if field[0] not in ours]
    return response.body


def expected(one: Recorded) -> dict[str, int | None]:
    """Return what the recorded body reports."""
    if one.streamed:
        found = [msgspec.json.decode(event[6:]).get("usage") for event in recorded.events(one.body)[:-1]]
        usage = found[-1]
    else:
        usage = msgspec.json.decode(one.body).get("usage")
    if usage is None:
        return {"input": None, "output": None, "cached": None}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return {"input": usage["prompt_tokens"], "output": usage["completion_tokens"], "cached": cached}


def counted(bench: Bench) -> dict[str, int | None]:
    usage = bench.usage
    return {"input": usage.input_tokens, "output": usage.output_tokens, "cached": usage.cache_read_input_tokens}


def test_there_are_transcripts() -> None:
    assert len(WHOLE) >= 20


@BY_NAME
def test_bytes_and_usage_at_every_cut(one: Recorded) -> None:
    """The answer as it was recorded, in two pieces, cut everywhere."""
    bench, wire = Bench(), one.wire()
    for cut in range(1, len(wire)):
        body = run(bench, one, wire, cut)
        assert body == one.body
        assert counted(bench) == expected(one)
        assert bench.usage.outcome == "completed"
        assert bench.usage.status == bench.usage.upstream_status == one.status
        assert bench.usage.response_bytes == len(one.body)


@BY_NAME
def test_byte_by_byte(one: Recorded) -> None:
    bench, wire = Bench(), one.wire(chunk=7)
    body = run(bench, one, wire, *range(1, len(wire)))
    assert body == one.body
    assert counted(bench) == expected(one)


def pairs() -> list[tuple[Recorded, bytes]]:
    """Return requests with what vLLM sends when it is asked for usage in every event."""
    continuous = load("chat_stream_continuous_usage").body
    same_request = ("chat_stream_plain", "chat_stream_include_usage", "chat_stream_include_usage_false")
    found = [(load(name), continuous) for name in (*same_request, "chat_stream_continuous_usage")]
    plain = load("completion_stream_plain")
    return [*found, (plain, with_usage(plain.body, prompt=12))]


def test_synthesis_is_what_vllm_sends() -> None:
    """What `with_usage` makes of a stream without usage is what real vLLM sent for the same request."""
    made = recorded.events(nameless(with_usage(load("chat_stream_plain").body, prompt=55)))
    real = recorded.events(nameless(load("chat_stream_continuous_usage").body))
    assert made[:-2] == real[:-2]
    total = msgspec.json.decode(real[-2][6:])
    assert msgspec.json.decode(made[-2][6:])["usage"]["completion_tokens"] == total["usage"]["completion_tokens"]


@pytest.mark.parametrize(("one", "sent"), pairs(), ids=lambda value: getattr(value, "name", ""))
def test_injected_usage_is_taken_out(one: Recorded, sent: bytes) -> None:
    """vLLM answers what it was really asked; the client sees what it would have got alone."""
    bench, wire = Bench(), one.wire(sent)
    for cut in range(1, len(wire)):
        body = run(bench, one, wire, cut)
        assert nameless(body) == nameless(one.body)
        assert counted(bench) in ({"input": 55, "output": 12, "cached": 0}, {"input": 12, "output": 12, "cached": 0})
        assert bench.usage.accuracy == "exact"
    asked = msgspec.json.decode(bytes(bench.upstream.written).partition(b"\r\n\r\n")[2])
    assert asked["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


@pytest.mark.parametrize("one", [one for one in EVERY if one.cut], ids=lambda one: one.name)
def test_cut_stream_is_billed_by_its_last_count(one: Recorded) -> None:
    """The client leaves after any event: what vLLM sent until it noticed is counted, exactly."""
    wire_events = recorded.events(with_usage(one.body[: one.body.rindex(b"\n\n") + 2], prompt=55))
    head = one.wire(b"").removesuffix(b"0\r\n\r\n")
    for left_after in range(len(wire_events)):
        bench = Bench()
        bench.send(post(one.path, one.request))
        bench.answer(head, *[b"%x\r\n%b\r\n" % (len(event), event) for event in wire_events[:left_after]])
        bench.client.lose()
        assert bench.upstream.ended
        count = min(left_after + left_after % 3, len(wire_events))  # some events were on their way
        bench.answer(*[b"%x\r\n%b\r\n" % (len(event), event) for event in wire_events[left_after:count]])
        bench.upstream.lose()
        usage = bench.usage
        assert (usage.outcome, usage.status) == ("client_closed", 200)
        if count == 0:
            assert (usage.input_tokens, usage.output_tokens, usage.accuracy) == (None, None, "unknown")
        else:
            assert (usage.input_tokens, usage.output_tokens, usage.accuracy) == (55, count - 1, "exact")
