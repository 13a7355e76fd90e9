"""One request of the slow lane, from its arrival to its last byte: the same exchange, desk and pool as in the fast lane."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol

import structlog

from contracts.clock import utc_now
from contracts.events import Outcome
from proxy.desk import Ask
from proxy.errors import Answer
from proxy.exchange import Exchange
from proxy.headers import Headers
from proxy.lane import head
from proxy.lane.circuit import describe
from proxy.lane.head import ResponseHead
from proxy.lane.lane import Lane
from proxy.lane.leftover import Leftover
from proxy.lane.pool import STALE_SECONDS
from proxy.lane.upstream import UpstreamConnection
from proxy.sse import StreamError
from proxy.steps import Arrival, Forward

log = structlog.get_logger(__name__)


class Outlet(Protocol):
    """Where an answer goes. `end` or `broken` is the last that it hears."""

    def head(self, status: int, fields: Headers) -> None:
        """Send the answer's head."""

    def data(self, data: bytes) -> None:
        """Send a piece of the body."""

    def end(self) -> None:
        """Send the end."""

    def broken(self) -> None:
        """Show the client that the answer is not whole."""


class Request:
    """Answers one request (`lane.upstream.Sink`)."""

    def __init__(self, lane: Lane, outlet: Outlet, arrival: Arrival) -> None:
        self._lane, self._outlet, self._arrival = lane, outlet, arrival
        self._head_only = arrival.head.method == "HEAD"
        self._exchange: Exchange | None = None
        self._upstream: UpstreamConnection | None = None
        self._forward: Forward | None = None  # kept until the answer begins, for a stale connection
        self._task: asyncio.Task[None] | None = None
        self._begun = self._retried = self._paused = self._loud = False
        self._sent = self._quiet_since = self._recorded = 0.0

    def begin(self) -> None:
        """Find out what becomes of it."""
        self._exchange, step = self._lane.desk.open(self._arrival)
        if isinstance(step, Answer):
            self._answer(step)
        elif isinstance(step, Forward):
            self._pass(step)
        else:
            self._start(self._ask(self._exchange, step))

    def hold(self, paused: bool) -> None:
        """Let vLLM wait for the client, or not any more."""
        if paused is self._paused:
            return
        self._paused = paused
        if self._upstream is not None:
            if paused:
                self._upstream.pause()
            else:
                self._upstream.resume()

    def left(self) -> None:
        """Stop what is done for a client that is gone; what vLLM had sent by then still counts."""
        upstream, exchange = self._upstream, self._exchange
        if upstream is not None and exchange is not None and exchange.metered:
            self._upstream = None
            Leftover(self._lane, exchange, upstream)
            exchange = None
        self._end(exchange, "client_closed")

    def cut(self, outcome: Outcome = "proxy_lost", message: str | None = None) -> None:
        """End it at once; an answer that has begun stays broken."""
        if message is not None and self._exchange is not None:
            log.warning("an answer broke off", outcome=outcome, error=message, request_id=self._exchange.request_id)
        self._end(self._exchange, outcome, outcome if outcome != "proxy_lost" else None)
        self._outlet.broken()

    def check(self, now: float) -> None:
        """Look whether the answer takes too long; `now` is of `time.monotonic`."""
        if not self._sent or self._exchange is None:
            return
        times = self._lane.config.timeouts
        if self._loud or self._paused:
            self._loud = False
            self._quiet_since = now
        quiet = times.idle if self._begun else times.first_byte
        if now - self._quiet_since > quiet or now - self._sent > times.total:
            if self._begun:
                self.cut("upstream_timeout", "the answer took too long")
            else:
                if self._upstream is not None:
                    self._upstream.abort()
                self._fail("upstream_timeout", "upstream_timeout", "vLLM did not answer in time.")
        elif now - self._recorded > self._lane.config.progress_interval:
            self._recorded = now
            self._lane.desk.progress(self._exchange, utc_now())

    # -- called for the answer, by the upstream connection ---------------------------------------------------------

    def on_interim(self, interim: ResponseHead) -> None:
        """Drop it: mitmproxy's HTTP/2 sends none."""

    def on_head(self, received: ResponseHead) -> None:
        """Pass the head on."""
        exchange = self._exchange
        assert exchange is not None
        self._forward = None
        self._begun = True
        added = exchange.answered(received.status, received.fields, utc_now())
        self._outlet.head(received.status, head.passed(received, exchange.hidden) + added)

    def on_data(self, data: bytes, last: bool, trailers: Headers) -> None:
        """Pass a piece of the body on; what completes it goes out only when the usage is recorded."""
        exchange = self._exchange
        assert exchange is not None
        self._loud = True
        try:
            out = exchange.passed(data, last)
        except StreamError as error:
            self.cut("upstream_error", str(error))
            return
        if last or exchange.news:
            now = utc_now()
            exchange.noticed(now)
            if last or exchange.finished:
                self._lane.desk.settle(exchange, "completed", now)
        if out:
            self._outlet.data(out)
        if last:
            self._upstream = None
            self._outlet.end()

    def on_lost(self, message: str, stale: bool) -> None:
        """Send again what an old connection could not take; otherwise the answer is an error, or ends broken."""
        self._upstream = None
        forward = self._forward
        resend = stale and forward is not None and not self._retried and time.monotonic() - self._sent < STALE_SECONDS
        if resend and forward is not None:
            self._retried = True
            self._start(self._connect(forward))
        elif not self._begun:
            self._fail("upstream_error", "upstream_unreachable", f"vLLM did not answer: {message}.")
        else:
            self.cut("upstream_error", message)

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _ask(self, exchange: Exchange, ask: Ask) -> None:
        step = await self._lane.desk.wait(exchange, ask)
        if isinstance(step, Answer):
            self._answer(step)
        else:
            self._pass(step)

    def _pass(self, step: Forward) -> None:
        connection = self._lane.pool.take()
        if connection is None:
            self._start(self._connect(step))
        else:
            self._send(step, connection)

    async def _connect(self, step: Forward) -> None:
        self._lane.desk.queued += 1
        try:
            connection = await self._lane.pool.connect()
        except OSError as error:
            self._fail(*describe(error))
        else:
            self._send(step, connection)
        finally:
            self._lane.desk.queued -= 1

    def _send(self, step: Forward, connection: UpstreamConnection) -> None:
        assert self._exchange is not None
        self._upstream, self._forward = connection, step
        self._loud = False
        self._sent = self._quiet_since = self._recorded = time.monotonic()
        self._exchange.forwarded(utc_now())
        connection.begin(self, head.request(step), self._head_only, self._paused)

    def _answer(self, answer: Answer) -> None:
        self._outlet.head(answer.status, [*answer.headers, (b"content-length", b"%d" % len(answer.body))])
        if answer.body and not self._head_only:
            self._outlet.data(answer.body)
        self._outlet.end()

    def _fail(self, outcome: Outcome, code: str, message: str) -> None:
        """Answer in vLLM's place."""
        exchange = self._exchange
        assert exchange is not None
        log.warning("the upstream failed", code=code, error=message, request_id=exchange.request_id)
        self._upstream = None
        answer = exchange.fail(code, message)
        self._lane.desk.settle(exchange, outcome, utc_now(), code)
        self._answer(answer)

    def _end(self, exchange: Exchange | None, outcome: Outcome, error_code: str | None = None) -> None:
        """Stop whatever runs; what was admitted is settled with `outcome`."""
        task, self._task = self._task, None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
        if exchange is not None:
            self._lane.desk.settle(exchange, outcome, utc_now(), error_code)
        if task is not None:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and task.exception() is not None:
            log.error("a request failed", exc_info=task.exception())
            self.cut()
