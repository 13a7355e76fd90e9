"""Clients and vLLM at their worst: whatever order things happen in, each admitted request is recorded open and closed once."""

import re

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.lane.pool import Pool
from proxy.lane.upstream import UpstreamConnection
from tests.proxy.memory import Bench, MemoryTransport, get, post
from tests.proxy.recorded import load

CHAT = "/v1/chat/completions"
STREAM = load("chat_stream_continuous_usage").wire()
UNARY = load("chat_unary").wire()
REQUESTS = [
    post(CHAT, b'{"model":"tiny","stream":true}'),
    post(CHAT, b'{"model":"tiny"}'),
    post(CHAT, b'{"model":"tiny"}', b"Connection: close"),
    post(CHAT, b"{"),
    get("/health", key=None),
    get("/nothing"),
    b"\x00garbage\r\n\r\n",
]
METERED = re.compile(
    rb"POST " + CHAT.encode() + rb" HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*?X-Request-Id: (\w+)\r\n", re.IGNORECASE
)


class LaneMachine(RuleBasedStateMachine):
    """One client after the other, on as many upstream connections as they need."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(kept=0)
        self.answers: dict[MemoryTransport, bytes] = {}
        self.reached: list[MemoryTransport] = []
        self.bench.lane.pool.take = self.take  # type: ignore[method-assign]

    def take(self) -> UpstreamConnection | None:
        """Have a connection to vLLM at hand: there is no loop here to open one."""
        connection = Pool.take(self.bench.lane.pool)
        if connection is None:
            self.reached.append(self.bench.keep_connection())
            connection = Pool.take(self.bench.lane.pool)
            assert connection is not None
        return connection

    def forget_closed(self) -> None:
        for transport in [each for each in self.bench.upstreams if each.closing]:
            self.bench.upstreams.remove(transport)
            self.answers.pop(transport, None)
            transport.lose()

    def busy(self) -> list[MemoryTransport]:
        return [each for each in self.bench.upstreams if each.protocol._sink is not None and not each.closing]

    @rule(data=st.data())
    def client_sends(self, data: st.DataObject) -> None:
        if self.bench.client.closing:
            self.client_leaves()
        request = data.draw(st.sampled_from(REQUESTS))
        end = data.draw(st.one_of(st.just(len(request)), st.integers(0, len(request))))
        for piece in (request[:end], request[end:]):
            if piece and not self.bench.client.closing:
                self.bench.send(piece)
            self.forget_closed()
        for transport in self.busy():
            self.answers.setdefault(transport, UNARY)

    @rule()
    def client_leaves(self) -> None:
        self.bench.client.lose()
        self.forget_closed()
        self.bench.client = self.bench.connect()

    @precondition(lambda self: self.busy())
    @rule(
        data=st.data(),
        answer=st.sampled_from([STREAM, UNARY, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"nonsense\r\n"]),
    )
    def vllm_answers(self, data: st.DataObject, answer: bytes) -> None:
        transport = self.busy()[0]
        if transport.protocol._fresh:
            self.answers[transport] = answer
        rest = self.answers[transport]
        size = data.draw(st.one_of(st.just(len(rest)), st.integers(1, len(rest))))
        self.answers[transport] = rest[size:]
        transport.protocol.data_received(rest[:size])
        self.forget_closed()

    @precondition(lambda self: self.busy())
    @rule()
    def vllm_leaves(self) -> None:
        transport = self.busy()[0]
        transport.protocol._served = 1  # as new: what is lost is not sent once more, for want of a loop
        transport.lose()
        self.forget_closed()

    @rule(seconds=st.sampled_from([1.0, 6.0, 301.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        running = self.bench.client.protocol._running
        since = running.sent if running is not None else self.bench.client.protocol._since
        for client in list(self.bench.lane.clients):
            client.check(since + seconds)
        self.forget_closed()

    @rule()
    def client_stalls_or_reads(self) -> None:
        client = self.bench.client.protocol
        (client.resume_writing if client._paused else client.pause_writing)()

    def metered_upstream(self) -> list[str]:
        """Read the ids of metered requests in what vLLM was sent: each request that may use tokens, whatever was recorded."""
        return sorted(name.decode() for each in self.reached for name in METERED.findall(each.written))

    @invariant()
    def records_agree(self) -> None:
        recorder, desk = self.bench.recorder, self.bench.lane.desk
        opened = {draft.request_id for draft in recorder.opens}
        closed = {usage.request_id for usage in recorder.closes}
        assert closed <= opened
        assert sorted(opened) == self.metered_upstream(), "what vLLM was sent is what was recorded, each once"
        assert desk.in_flight == len(opened) - len(closed)
        assert desk.in_flight <= len(self.bench.lane.clients)
        for usage in recorder.closes:
            assert usage.outcome != "completed" or usage.status is not None
            assert usage.accuracy != "exact" or usage.upstream_status != 200 or usage.input_tokens is not None

    def teardown(self) -> None:
        self.bench.client.lose()
        for transport in self.bench.upstreams:
            transport.lose()
        self.records_agree()
        assert self.bench.lane.desk.in_flight == 0
        assert not self.bench.lane.clients


LaneMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLaneMachine = pytest.mark.source(LaneMachine.TestCase)
