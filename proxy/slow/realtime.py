"""A WebSocket session: mitmproxy's layers speak HTTP/1.1 and WebSocket on both sides, the exchange decides and counts.

mitmproxy asks its addons by commands, and waits for each to be done. They are answered here, without a task in between:
otherwise a client could send faster than it is listened to. Only finding out who a key belongs to, and connecting to
vLLM, take time.
"""

# mypy: disable-error-code="no-untyped-call"
# (mitmproxy annotates only a part of itself)

import asyncio
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, Final

import msgspec
import structlog
from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers import websocket
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.proxy.layers.http._hooks import (
    HttpErrorHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import CloseReason, Opcode

from contracts.clock import utc_now
from contracts.events import Outcome
from proxy.dialects.realtime import METHOD
from proxy.errors import Answer
from proxy.exchange import Exchange
from proxy.headers import Headers, to_client
from proxy.lane import head
from proxy.lane.circuit import describe
from proxy.lane.lane import Lane
from proxy.ports import Refusal
from proxy.request_head import RequestHead
from proxy.slow.handler import Handler, Serving
from proxy.steps import Arrival, Forward

log = structlog.get_logger(__name__)

Commands = Generator[commands.Command, Any, None]

MAX_MESSAGE: Final = 16 << 20
"""Bytes; uvicorn, which serves vLLM, takes no larger ones."""
_ORDERLY: Final = (CloseReason.NORMAL_CLOSURE, CloseReason.GOING_AWAY, CloseReason.NO_STATUS_RCVD)
_UPGRADE: Final[Headers] = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
_CLOSE: Final[Headers] = [(b"connection", b"close")]
_NOT_UPSTREAM: Final = frozenset({b"sec-websocket-extensions", b"content-length"})
"""Compression is not offered to vLLM: a small message could become a large one here."""


class Realtime(Serving):
    """One connection: an upgrade, and the session that follows. Nothing else is answered on it."""

    def __init__(self, around: context.Context, lane: Lane, handler: Handler) -> None:
        super().__init__(around)
        around.server = Server(address=lane.config.address)
        self._http = HttpLayer(around, HTTPMode.transparent)
        self._lane, self._handler = lane, handler
        peer = around.client.peername
        self._address = peer[0] if peer else None
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._answered: deque[commands.StartHook] = deque()
        self._own = self._open = self._gone = False
        self._unread = 0
        """Bytes of the client since its last whole message."""
        self._since = self._loud = self._recorded = time.monotonic()

    # -- what happens on the connections ---------------------------------------------------------------------------

    def _handle_event(self, event: events.Event) -> Commands:
        client = self.context.client
        if isinstance(event, events.DataReceived):
            self._loud = time.monotonic()
            if event.connection is client:
                self._unread += len(event.data)
        elif isinstance(event, events.ConnectionClosed) and event.connection is client:
            self.left()
        yield from self._drive(self._http.handle_event(event))
        while self._answered:  # not where they are asked: a segment may hold thousands of messages
            yield from self._drive(self._http.handle_event(events.HookCompleted(self._answered.popleft())))
        if self._unread > (MAX_MESSAGE if self._open else self._lane.config.max_head):
            log.warning("WebSocket ended", error="too large a message", client_address=self._address)
            self.left()
        if self._gone:
            yield commands.CloseConnection(client)

    def _drive(self, asked: Iterator[commands.Command]) -> Commands:
        """Pass on what the layers want done, but answer their questions."""
        for command in asked:
            if not isinstance(command, commands.StartHook):
                yield command
            elif isinstance(command, HttpErrorHook):
                yield from self._fail(command.flow)
            elif not isinstance(command, HttpRequestHook):
                self._hook(command)
                if command.blocking:
                    self._answered.append(command)
            else:
                self._task = asyncio.get_running_loop().create_task(self._admit(command))
                self._task.add_done_callback(self._admitted)

    def _hook(self, hook: commands.StartHook) -> None:
        if isinstance(hook, websocket.WebsocketMessageHook):
            self._message(hook.flow)
        elif isinstance(hook, HttpResponseHeadersHook) and not self._own:
            self._head(hook.flow)
        elif isinstance(hook, HttpResponseHook) and hook.flow.websocket is None:
            self._settle("completed")
        elif isinstance(hook, websocket.WebsocketStartHook):
            self._open, self._unread = True, 0
        elif isinstance(hook, websocket.WebsocketEndHook):
            self._closed(hook.flow)

    def _fail(self, flow: http.HTTPFlow) -> Commands:
        """Answer what mitmproxy would answer with a page of its own; it is not asked any more."""
        message = flow.error.msg if flow.error is not None else "unknown"
        log.warning("WebSocket failed", error=message, client_address=self._address)
        if self._gone:
            return
        if self._exchange is None:
            answer = self._lane.desk.refuse(
                self._arrival(flow.request), "invalid_request", "This is no HTTP/1.1 request."
            )
        else:
            answer = self._exchange.fail("upstream_error", f"vLLM did not answer: {message}")
            self._settle("upstream_error", "upstream_error")
        self._gone = True
        yield commands.SendData(self.context.client, head.answer(answer, close=True, head_only=False))

    # -- the upgrade -----------------------------------------------------------------------------------------------

    async def _admit(self, hook: HttpRequestHook) -> None:
        """Decide on the request; connect to vLLM where it may pass."""
        flow, desk = hook.flow, self._lane.desk
        exchange, step = desk.open(self._arrival(flow.request))
        self._exchange = exchange
        if not isinstance(step, Answer | Forward):
            step = await desk.wait(exchange, step)
        answer = await self._connect(flow, exchange, step) if isinstance(step, Forward) else step
        if answer is not None:
            self._own = True
            fields = http.Headers([*answer.headers, (b"content-length", b"%d" % len(answer.body)), *_CLOSE])
            now = time.monotonic()
            flow.response = http.Response(b"HTTP/1.1", answer.status, b"", fields, answer.body, None, now, now)
        self._handler.tell(events.HookCompleted(hook))

    async def _connect(self, flow: http.HTTPFlow, exchange: Exchange, step: Forward) -> Answer | None:
        """Open vLLM's side; return the error to answer when that fails."""
        self._lane.desk.queued += 1
        try:
            reader, writer = await self._lane.pool.stream()
        except OSError as error:
            outcome, code, message = describe(error)
            answer = exchange.fail(code, message)
            self._settle(outcome, code)
            return answer
        finally:
            self._lane.desk.queued -= 1
        exchange.forwarded(utc_now())
        self._handler.adopt(self.context.server, reader, writer)
        kept = [field for field in step.headers if field[0].lower() not in _NOT_UPSTREAM]
        flow.request.headers = http.Headers([*kept, *_UPGRADE])
        return None

    def _admitted(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            log.error("a request failed", exc_info=task.exception())
            self.cut()
            self._handler.abort()

    def _arrival(self, request: http.Request) -> Arrival:
        fields = list(request.headers.fields)
        named = {name.lower(): value for name, value in fields}
        upgrade = request.method == "GET" and named.get(b"upgrade", b"").lower() == b"websocket"
        size = len(request.data.path) + sum(len(name) + len(value) + 4 for name, value in fields)
        method = METHOD if upgrade and named.get(b"sec-websocket-version") == b"13" else request.method
        return Arrival(RequestHead(method, request.data.path, fields, named, self._address), b"", size, utc_now())

    def _head(self, flow: http.HTTPFlow) -> None:
        """Take vLLM's answer to the upgrade."""
        response, exchange = flow.response, self._exchange
        assert response is not None
        assert exchange is not None
        received = list(response.headers.fields)
        named = {name.lower(): value for name, value in received}
        fields = to_client(received) + exchange.answered(response.status_code, named, utc_now())
        end = _UPGRADE if response.status_code == 101 else _CLOSE
        response.headers = http.Headers([*fields, *end])

    # -- the session -----------------------------------------------------------------------------------------------

    def _message(self, flow: http.HTTPFlow) -> None:
        session, exchange = flow.websocket, self._exchange
        assert session is not None
        assert exchange is not None
        message = session.messages[-1]
        session.messages.clear()  # mitmproxy would keep them all
        if message.injected:
            return
        now = utc_now()
        if message.from_client:
            self._unread = 0
            refusal = exchange.said(message.content, now) if message.is_text else _BINARY
            if refusal is not None:
                message.drop()
                self._tell_client(flow, refusal)
            return
        exchange.passed(message.content, False)
        if exchange.news:
            exchange.noticed(now)

    def _tell_client(self, flow: http.HTTPFlow, refusal: Refusal) -> None:
        """Send an error as vLLM does."""
        error = msgspec.json.encode({"type": "error", "error": refusal.message, "code": refusal.code})
        message = WebSocketMessage(Opcode.TEXT, False, error)
        self._handler.tell(websocket.WebSocketMessageInjected(flow, message))

    def _closed(self, flow: http.HTTPFlow) -> None:
        """Settle: how it ended says who ended it."""
        session, exchange = flow.websocket, self._exchange
        assert session is not None
        orderly = session.close_code in _ORDERLY
        if session.closed_by_client:
            done = orderly and exchange is not None and exchange.finished
            self._settle("completed" if done else "client_closed")
        else:
            self._settle(*(("completed", None) if orderly else ("upstream_error", "upstream_error")))
        self._gone = True

    def _settle(self, outcome: Outcome, error_code: str | None = None) -> None:
        if self._exchange is not None:
            self._lane.desk.settle(self._exchange, outcome, utc_now(), error_code)

    # -- called by the lane ----------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Look whether the session takes too long; record its counts so far."""
        times, exchange = self._lane.config.timeouts, self._exchange
        if not self._open:
            if now - self._since > times.client_idle + times.first_byte:
                self.cut()
                self._handler.abort()
        elif now - self._loud > times.idle or now - self._since > times.total:
            log.warning("WebSocket ended", error="it took too long", client_address=self._address)
            busy = exchange is not None and not exchange.finished
            self._settle(*(("upstream_timeout", "upstream_timeout") if busy else ("client_closed", None)))
            self._handler.abort()
        elif exchange is not None and now - self._recorded > self._lane.config.progress_interval:
            self._recorded = now
            self._lane.desk.progress(exchange, utc_now())

    def retire(self) -> None:
        """Close a connection without a session; a session goes on until it is cut."""
        if self._exchange is None:
            self._handler.abort()

    def cut(self) -> None:
        """Settle the session: the process must stop."""
        if self._task is not None:
            self._task.cancel()
        self._settle("proxy_lost")

    def left(self) -> None:
        """Settle the session: the client is gone."""
        if self._task is not None:
            self._task.cancel()
        self._settle("client_closed")
        self._gone = True


_BINARY: Final = Refusal("invalid_request", "This API speaks in text messages.")
