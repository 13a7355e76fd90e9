"""A client's connection: plain HTTP/1.1, requests answered in the order they came.

The client is read while an answer runs, so that its FIN is seen at once and vLLM stops generating; a client that sends
more than `MAX_PIPELINED` bytes of further requests meanwhile is not read until the answer ends.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Final

import structlog

from contracts.clock import utc_now
from contracts.events import Outcome
from proxy.desk import Ask
from proxy.errors import Answer
from proxy.headers import Headers
from proxy.lane import head
from proxy.lane.circuit import describe
from proxy.lane.head import ResponseHead
from proxy.lane.lane import Lane
from proxy.lane.leftover import Leftover
from proxy.lane.pending import Pending
from proxy.lane.pool import STALE_SECONDS
from proxy.lane.reader import RequestReader
from proxy.lane.running import Running
from proxy.lane.upstream import UpstreamConnection
from proxy.sse import StreamError
from proxy.steps import Forward
from proxy.streamed.intake import Intake
from proxy.streamed.upload import Upload

log = structlog.get_logger(__name__)

MAX_PIPELINED: Final = 64 << 10
LINGER_SECONDS: Final = 2.0
"""After an answer that ends the connection: how long a client may go on sending without losing that answer to a RST."""


class ClientConnection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_deaf_since",
        "_intake",
        "_lane",
        "_loud",
        "_paused",
        "_pipelined",
        "_reader",
        "_running",
        "_since",
        "_task",
        "_transport",
        "_upstream",
    )

    def __init__(self, lane: Lane, transport: asyncio.Transport) -> None:
        self._lane = lane
        self._transport = transport
        peer = transport.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else None
        self._reader = RequestReader(lane.config.max_head, lane.config.max_body, address, lane.config.max_held)
        self._running: Running | None = None
        self._upstream: UpstreamConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._intake: Intake | None = None  # while a body is passed on as it comes
        self._deaf_since: float | None = None  # since when what comes is thrown away
        self._paused = False  # the client does not keep up with the answer
        self._pipelined = 0
        self._loud = False  # something was passed on since the last check
        self._since = time.monotonic()
        lane.clients.add(self)

    # -- called by the event loop ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        if self._deaf_since is not None:
            return
        self._since = time.monotonic()
        reader = self._reader
        reader.feed(data)
        if self._running is not None:
            if self._intake is not None and not self._intake.ended:
                self._flow(self._intake)
                return
            self._pipelined += len(data)
            if self._pipelined > MAX_PIPELINED and self._transport.is_reading():
                self._transport.pause_reading()
            return
        if reader.expects and not reader.queue and reader.broken is None:
            reader.expects = False
            self._transport.write(head.CONTINUE)
        self._next()

    def eof_received(self) -> bool:
        """Take it that the client left, as nginx and uvicorn do."""
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """Stop what was done for the client."""
        self._lane.forget(self)
        self._reader.queue.clear()
        running, upstream = self._running, self._upstream
        if running is not None and upstream is not None and running.exchange.metered:
            self._running = self._upstream = None
            Leftover(self._lane, running.exchange, upstream)
        self._end("client_closed")

    def pause_writing(self) -> None:
        """Let vLLM wait for the client."""
        self._paused = True
        if self._upstream is not None:
            self._upstream.pause()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        if self._upstream is not None:
            self._upstream.resume()

    # -- called for the answer, by the upstream connection ---------------------------------------------------------

    def on_interim(self, interim: ResponseHead) -> None:
        """Pass a 1xx on; an answer to `Expect` is ours to give."""
        if interim.status != 100 and self._running is not None and not self._running.old:
            self._transport.write(head.interim(interim))

    def on_head(self, received: ResponseHead) -> None:
        """Write the head anew; it goes out with the first bytes of the body."""
        running = self._running
        assert running is not None
        exchange = running.exchange
        now = running.now = utc_now()
        added = exchange.answered(received.status, received.fields, now)
        framing = received.framing
        if framing == "chunked" and running.old:
            framing = "close"
        if framing == "close" or self._lane.draining:
            running.keep = False
        running.framing = framing
        running.forward = None
        running.head = head.response(received, exchange.hidden, added, framing, close=not running.keep)

    def on_data(self, data: bytes, last: bool, trailers: Headers) -> None:
        """Pass a piece of the body on; what completes it goes out only when the usage is recorded."""
        running = self._running
        assert running is not None
        self._loud = True
        exchange = running.exchange
        now, running.now = running.now, None
        try:
            out = exchange.passed(data, last)
        except StreamError as error:
            self._cut(running, str(error))
            return
        if last or exchange.news:
            now = now if now is not None else utc_now()
            exchange.noticed(now)
            if last or exchange.finished:
                self._lane.desk.settle(exchange, "completed", now)
        if running.framing == "chunked":
            out = head.chunk(out) if out else b""
            if last:
                out += head.last_chunk(trailers)
        if running.head:
            out = running.head + out
            running.head = b""
        if out:
            self._transport.write(out)
        if last:
            self._upstream = None
            self._answered(running.keep)

    def on_lost(self, message: str, stale: bool) -> None:
        """Send again what an old connection could not take; otherwise the answer is an error, or ends broken."""
        running = self._running
        self._upstream = None
        if running is None:
            return
        resend = stale and running.forward is not None and not running.retried
        if resend and time.monotonic() - running.sent < STALE_SECONDS and running.forward is not None:
            running.retried = True
            self._start(self._connect(running, running.forward))
        elif running.framing is None:
            self._fail(running, "upstream_error", "upstream_unreachable", f"vLLM did not answer: {message}.")
        else:
            self._cut(running, message)

    # -- called by the lane ----------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Look, once in a while, whether something takes too long; `now` is of `time.monotonic`."""
        running = self._running
        if self._deaf_since is not None:
            if now - self._deaf_since > LINGER_SECONDS:
                self._transport.close()  # what the client has not read yet still goes out
        elif running is None:
            if now - self._since > self._lane.config.timeouts.client_idle:
                self._transport.close()
        elif running.sent:
            self._check_answer(running, now)

    def retire(self) -> None:
        """Close as soon as nothing runs."""
        if self._running is None and not self._reader.queue:
            self._transport.close()

    def cut(self) -> None:
        """End at once what runs: the process must stop."""
        self._end("proxy_lost")
        self._transport.abort()

    # -- requests --------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Serve what is queued, until something has to be waited for."""
        reader = self._reader
        while self._running is None and reader.queue and self._deaf_since is None:
            pending = reader.queue.pop(0)
            if pending.intake is None:
                self._serve(pending)
            else:
                self._stream(pending, pending.intake)
        if reader.broken is not None and self._running is None and self._deaf_since is None:
            self._refuse(*reader.broken)

    def _serve(self, pending: Pending) -> None:
        exchange, step = self._lane.desk.open(pending.arrival)
        self._running = running = Running(exchange, pending)
        if isinstance(step, Forward):
            connection = self._lane.pool.take()
            if connection is None:
                self._start(self._connect(running, step))
            else:
                self._send(running, step, connection, pending.arrival.received_at)
        elif isinstance(step, Answer):
            self._answer(running, step)
        else:
            self._start(self._ask(running, step))

    async def _ask(self, running: Running, ask: Ask) -> None:
        step = await self._lane.desk.wait(running.exchange, ask)
        if isinstance(step, Answer):
            self._answer(running, step)
            self._next()
        else:
            connection = self._lane.pool.take()
            if connection is None:
                await self._connect(running, step)
            else:
                self._send(running, step, connection, utc_now())

    def _stream(self, pending: Pending, intake: Intake) -> None:
        """Serve a request whose body is passed on as it comes."""
        preview = self._lane.desk.preview(pending.arrival)
        self._running = running = Running(preview, pending)
        self._intake = intake
        intake.on_taken(lambda _count: self._flow(intake))
        self._flow(intake)
        self._start(self._upload(running, pending, Upload(self._lane, preview, pending.arrival, intake, self._welcome)))

    async def _upload(self, running: Running, pending: Pending, upload: Upload) -> None:
        done = await upload.run()
        self._intake = None
        running.keep = pending.keep  # not if the body has not ended
        if isinstance(done, Answer):
            self._answer(running, done)
            self._next()
            return
        running.exchange, self._upstream = done.exchange, done.connection
        self._loud = False
        running.sent = running.quiet_since = running.recorded = time.monotonic()
        done.give(self)
        if self._paused:
            self.pause_writing()

    def _welcome(self) -> None:
        if self._reader.expects:
            self._reader.expects = False
            self._transport.write(head.CONTINUE)

    def _flow(self, intake: Intake) -> None:
        """Read the client as fast as vLLM takes it."""
        transport = self._transport
        if not transport.is_closing() and transport.is_reading() is intake.full:
            if intake.full:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _refuse(self, code: str, message: str) -> None:
        """Answer what could not be read, and read no more."""
        answer = self._lane.desk.refuse(self._reader.unread(utc_now()), code, message)
        self._transport.write(head.answer(answer, close=True, head_only=False))
        self._linger()

    # -- answers ---------------------------------------------------------------------------------------------------

    async def _connect(self, running: Running, step: Forward) -> None:
        self._lane.desk.queued += 1
        try:
            connection = await self._lane.pool.connect()
        except OSError as error:
            self._fail(running, *describe(error))
        else:
            self._send(running, step, connection, utc_now())
        finally:
            self._lane.desk.queued -= 1

    def _send(self, running: Running, step: Forward, connection: UpstreamConnection, now: datetime) -> None:
        self._upstream = connection
        self._loud = False
        running.forward = step
        running.sent = running.quiet_since = running.recorded = time.monotonic()
        running.exchange.forwarded(now)
        connection.begin(self, head.request(step), running.head_only, self._paused)

    def _answer(self, running: Running, answer: Answer) -> None:
        keep = running.keep and not self._lane.draining
        self._transport.write(head.answer(answer, not keep, running.head_only))
        self._answered(keep, follow=False)

    def _answered(self, keep: bool, follow: bool = True) -> None:
        """Go on to the next request, or end the connection."""
        self._running = None
        self._since = time.monotonic()
        if self._lane.draining and not self._reader.queue:  # the answer's head may have promised otherwise
            keep = False
        if not keep:
            self._reader.queue.clear()
            self._linger()
            return
        if self._pipelined:
            self._pipelined = 0
            if not self._transport.is_closing() and not self._transport.is_reading():
                self._transport.resume_reading()
        if follow and (self._reader.queue or self._reader.broken is not None):
            self._next()

    def _fail(self, running: Running, outcome: Outcome, code: str, message: str) -> None:
        """Answer in vLLM's place."""
        log.warning("the upstream failed", code=code, error=message, request_id=running.exchange.request_id)
        answer = running.exchange.fail(code, message)
        self._lane.desk.settle(running.exchange, outcome, utc_now(), code)
        self._answer(running, answer)
        self._next()

    def _cut(self, running: Running, message: str, outcome: Outcome = "upstream_error") -> None:
        """End an answer that has begun and cannot be completed: the client must see that it is broken."""
        log.warning("an answer broke off", outcome=outcome, error=message, request_id=running.exchange.request_id)
        self._end(outcome, outcome)
        if running.framing == "close":  # only a RST tells the end of such an answer from its breaking off
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _end(self, outcome: Outcome, error_code: str | None = None) -> None:
        """Stop whatever runs; what was admitted is settled with `outcome`."""
        running, self._running = self._running, None
        task, self._task = self._task, None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
        if running is not None:
            self._lane.desk.settle(running.exchange, outcome, utc_now(), error_code)
        if task is not None:
            task.cancel()

    def _check_answer(self, running: Running, now: float) -> None:
        config = self._lane.config
        times = config.timeouts
        if self._loud or self._paused:
            self._loud = False
            running.quiet_since = now
        quiet = times.first_byte if running.framing is None else times.idle
        if now - running.quiet_since > quiet or now - running.sent > times.total:
            self._time_out(running)
        elif now - running.recorded > config.progress_interval:
            running.recorded = now
            self._lane.desk.progress(running.exchange, utc_now())

    def _time_out(self, running: Running) -> None:
        if running.framing is not None:
            self._cut(running, "the answer took too long", "upstream_timeout")
            return
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None
        self._fail(running, "upstream_timeout", "upstream_timeout", "vLLM did not answer in time.")

    def _linger(self) -> None:
        """End the connection, but throw away what still comes first: a close with unread bytes would be a RST."""
        self._deaf_since = time.monotonic()
        if self._transport.is_closing():
            return
        if not self._transport.is_reading():
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and task.exception() is not None:
            log.error("a request failed", exc_info=task.exception())
            self._end("proxy_lost")
            self._transport.abort()
