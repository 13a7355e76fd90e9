"""The request that a client's connection is answering."""

from datetime import datetime

from proxy.exchange import Exchange
from proxy.lane.head import Framing
from proxy.lane.pending import Pending
from proxy.steps import Forward


class Running:
    """The request that is being answered."""

    __slots__ = (
        "exchange",
        "forward",
        "framing",
        "head",
        "head_only",
        "keep",
        "now",
        "old",
        "quiet_since",
        "recorded",
        "retried",
        "sent",
    )

    def __init__(self, exchange: Exchange, pending: Pending) -> None:
        self.exchange = exchange
        self.keep = pending.keep
        self.old = pending.old
        self.head_only = pending.arrival.head.method == "HEAD"
        self.forward: Forward | None = None  # kept until the answer begins, for a stale connection
        self.framing: Framing | None = None  # None until the answer's head came
        self.head = b""  # waits for the first bytes of the body
        self.retried = False
        self.sent = 0.0
        self.quiet_since = 0.0
        self.recorded = 0.0
        self.now: datetime | None = None  # when the head came, for the body that follows at once
