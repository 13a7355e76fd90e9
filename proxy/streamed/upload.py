"""Carries one large body to vLLM while it comes, and decides about the request when all of it was read.

vLLM begins nothing before a body has ended. So the last bytes are kept back until the request is admitted, by the same
exchange as any other; what is refused, or breaks off, never ends, and vLLM drops it. Nothing of it can be sent twice.
"""

import asyncio
from collections.abc import Callable

from contracts.clock import utc_now
from proxy.dialects.base import BadRequestError
from proxy.errors import Answer
from proxy.exchange import Exchange
from proxy.headers import Headers
from proxy.lane.circuit import describe
from proxy.lane.head import ResponseHead
from proxy.lane.lane import Lane
from proxy.lane.upstream import Sink
from proxy.ports import Refusal
from proxy.steps import Arrival, Forward
from proxy.streamed import bodies
from proxy.streamed.connection import UploadConnection
from proxy.streamed.intake import Intake
from proxy.streamed.preview import Preview


class StoppedError(Exception):
    """The body goes no further; `refusal` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(code, message)


class Sent:
    """A request that vLLM has, but for its end; or that it answered already (`early`)."""

    def __init__(self, exchange: Exchange, connection: UploadConnection, tail: bytes, seen: "_Seen") -> None:
        self.exchange = exchange
        self.connection = connection
        self._tail = tail
        self._seen = seen

    def give(self, sink: Sink) -> None:
        """Send the end; let `sink` have the answer."""
        seen = self._seen
        if seen.lost is not None:
            sink.on_lost(seen.lost, False)
        elif seen.head is None:
            self.exchange.forwarded(utc_now())
            self.connection.complete(sink, self._tail)
        else:
            self.connection.hand_over(sink)
            sink.on_head(seen.head)
            for piece in seen.pieces:
                sink.on_data(*piece)
            self.connection.resume()


class _Seen:
    """What vLLM says while the body is on its way (`lane.upstream.Sink`): it is kept for whoever gets the answer."""

    def __init__(self, connection: UploadConnection, changed: Callable[[], None]) -> None:
        self._connection, self._changed = connection, changed
        self.head: ResponseHead | None = None
        self.pieces: list[tuple[bytes, bool, Headers]] = []
        self.lost: str | None = None

    def on_interim(self, head: ResponseHead) -> None:
        """Drop it: whether to go on is said by us."""

    def on_head(self, head: ResponseHead) -> None:
        """Keep the head of an answer that comes early."""
        self.head = head
        self._connection.pause()
        self._changed()

    def on_data(self, data: bytes, last: bool, trailers: Headers) -> None:
        """Keep what came with the head."""
        self.pieces.append((data, last, trailers))

    def on_lost(self, message: str, stale: bool) -> None:
        """Note that there will be no answer, or no end of it."""
        self.lost = message
        self._changed()


class Upload:
    """One. `welcome` is called when the client may send: it may be waiting for `100 Continue`."""

    def __init__(
        self, lane: Lane, preview: Preview, arrival: Arrival, intake: Intake, welcome: Callable[[], None]
    ) -> None:
        self._lane, self._preview, self._arrival, self._intake = lane, preview, arrival, intake
        self._welcome = welcome
        self._changed = asyncio.Event()
        self._counted = 0

    async def run(self) -> Answer | Sent:
        """Return what becomes of the request; after an answer of ours, the client may still be sending."""
        desk, preview = self._lane.desk, self._preview
        step = await desk.begin(preview, self._arrival.received_at)
        if isinstance(step, Answer):
            return step
        try:
            return await self._pass(step)
        except BadRequestError as error:
            return desk.deny(preview, Refusal(error.code, str(error)), utc_now())
        except StoppedError as error:
            return desk.deny(preview, error.refusal, utc_now())
        finally:
            self._lane.shares.release(preview.tenant, self._counted)

    async def _pass(self, step: Forward) -> Answer | Sent:
        config, arrival = self._lane.config, self._arrival
        body = bodies.body(self._preview.path, arrival.head.fields.get(b"content-type", b""), config.max_held)
        connection = await self._connect()
        try:
            seen = _Seen(connection, self._changed.set)
            self._intake.watch(self._changed.set)
            connection.upload(seen, step, self._changed.set)
            self._welcome()
            sent = await self._carry(body, connection, seen)
        except BaseException:
            connection.abort()
            raise
        if isinstance(sent, Answer):
            connection.abort()
        return sent

    async def _carry(self, body: bodies.Body, connection: UploadConnection, seen: _Seen) -> Answer | Sent:
        desk, preview, arrival = self._lane.desk, self._preview, self._arrival
        try:
            async with asyncio.timeout(self._lane.config.timeouts.total):
                while seen.head is None:
                    piece = await self._next(connection, seen)
                    if piece is None:
                        break
                    connection.more(body.feed(piece))
                    await asyncio.sleep(0)  # the others' turn
        except TimeoutError:
            raise StoppedError("invalid_request", "The request's body took too long.") from None
        if seen.head is not None:
            if seen.head.status < 300:
                raise StoppedError("upstream_error", "vLLM answered before it had the whole request.")
            desk.turned_down(preview, seen.head.status, utc_now())
            return Sent(preview, connection, b"", seen)
        arrival.body = body.rest()
        arrival.passed = self._intake.total
        arrival.size += self._intake.total
        arrival.received_at = utc_now()
        exchange, decided = desk.complete(preview, arrival)
        if not isinstance(decided, Answer | Forward):
            decided = await desk.wait(exchange, decided)
        return decided if isinstance(decided, Answer) else Sent(exchange, connection, body.tail(decided.body), seen)

    async def _next(self, connection: UploadConnection, seen: _Seen) -> bytes | None:
        """Wait for what can be passed on; None: there is no more, or vLLM wants none."""
        intake, times = self._intake, self._lane.config.timeouts
        while seen.head is None:
            if seen.lost is not None:
                raise StoppedError("upstream_unreachable", f"vLLM did not answer: {seen.lost}.")
            if intake.broken is not None:
                raise StoppedError(*intake.broken)
            if not connection.full:
                piece = intake.take()
                if piece is not None:
                    return self._count(piece)
                if intake.ended:
                    return None
            self._changed.clear()
            try:
                async with asyncio.timeout(times.idle if connection.full else times.client_idle):
                    await self._changed.wait()
            except TimeoutError:
                if connection.full:
                    raise StoppedError("upstream_timeout", "vLLM did not take the request in time.") from None
                raise StoppedError("invalid_request", "The request's body does not go on.") from None
        return None

    def _count(self, piece: bytes) -> bytes:
        self._counted += len(piece)
        if not self._lane.shares.add(self._preview.tenant, len(piece)):
            raise StoppedError("concurrency_limit_exceeded", "Too much is being sent at once by this tenant.")
        return piece

    async def _connect(self) -> UploadConnection:
        desk = self._lane.desk
        desk.queued += 1
        try:
            return await self._lane.pool.connect_as(UploadConnection)
        except OSError as error:
            _, code, message = describe(error)
            raise StoppedError(code, message) from None
        finally:
            desk.queued -= 1
