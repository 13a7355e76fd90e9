"""The rest of an answer whose client left: vLLM is told at once, and what it had already sent is still counted.

Hanging up means to close only our direction. The server sees that its client is gone, stops generating, and closes; what
it had written until then still arrives, so that the count is what it had sent, not what happened to be read before. An
abort would throw those bytes away.

Of a client that did not keep up, vLLM may have generated more than it could write: it drops that when it hears of the end,
and what was counted is then an estimate.
"""

import time
from typing import Final

from contracts.clock import utc_now
from proxy.exchange import Exchange
from proxy.headers import Headers
from proxy.lane.head import ResponseHead
from proxy.lane.lane import Lane
from proxy.lane.upstream import UpstreamConnection
from proxy.sse import StreamError

PATIENCE_SECONDS: Final = 30.0
"""How long an upstream, told at once but perhaps starved, may take to notice; then what was counted is an estimate."""


class Leftover:
    """Takes the place of a client that left (`lane.upstream.Sink`, `lane.lane.Connection`) until its usage is settled."""

    def __init__(self, lane: Lane, exchange: Exchange, upstream: UpstreamConnection) -> None:
        self._lane, self._exchange, self._upstream = lane, exchange, upstream
        self._since = time.monotonic()
        self._behind = upstream.paused
        lane.clients.add(self)
        if not upstream.hang_up(self):
            self.cut()

    def on_interim(self, interim: ResponseHead) -> None:
        """Nobody is there to read it."""

    def on_head(self, received: ResponseHead) -> None:
        """Count what follows, too: the client left before the answer began."""
        self._exchange.answered(received.status, received.fields, utc_now())

    def on_data(self, data: bytes, last: bool, trailers: Headers) -> None:
        """Count a piece."""
        try:
            self._exchange.overheard(data, last)
        except StreamError:
            self.cut()
        else:
            if last:
                self._settle(all_read=True)

    def on_lost(self, message: str, stale: bool) -> None:
        """Settle: the upstream has noticed, there is no more. After a reset, though, bytes may be missing."""
        self._settle(all_read=self._upstream.ended_in_order and not self._behind)

    def check(self, now: float) -> None:
        """Lose patience with an upstream that does not notice."""
        if now - self._since > PATIENCE_SECONDS:
            self.cut()

    def retire(self) -> None:
        """Go on: this takes a moment only."""

    def cut(self) -> None:
        """End it now, with what was counted."""
        self._upstream.abort()
        self._settle(all_read=False)

    def _settle(self, all_read: bool) -> None:
        self._lane.desk.settle(self._exchange, "client_closed", utc_now(), all_read=all_read)
        self._lane.forget(self)
