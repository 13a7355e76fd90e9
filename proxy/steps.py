"""What goes in and out of an exchange: a request as it came, and what to do next, as values.

They are plain classes: made and read at every request, and never decoded or compared.
"""

from datetime import datetime

from proxy.errors import Answer
from proxy.headers import Headers
from proxy.ports import Demand, Principal
from proxy.queue.turn import Turn
from proxy.request_head import Passed, RequestHead


class Arrival:
    """A request as it came in. `size` counts the bytes of head and body, `passed` those of the body that vLLM has already."""

    __slots__ = ("body", "head", "passed", "received_at", "size")

    def __init__(self, head: RequestHead, body: bytes, size: int, received_at: datetime) -> None:
        self.head = head
        self.body = body
        self.size = size
        self.passed = 0
        self.received_at = received_at


class AskKey:
    """Find out who a token belongs to, then call `identified`."""

    __slots__ = ("token",)

    def __init__(self, token: bytes) -> None:
        self.token = token


class AskModels:
    """Look again at what the upstream serves, then call `listed`."""

    __slots__ = ()


class AskLimits:
    """Find out whether the limits let it in, then call `limited`."""

    __slots__ = ("demand",)

    def __init__(self, demand: Demand) -> None:
        self.demand = demand


class AskStandings:
    """Find out how somebody stands, then call `standing`."""

    __slots__ = ("who",)

    def __init__(self, who: Principal) -> None:
        self.who = who


class Forward:
    """Send this upstream, then call `forwarded`."""

    __slots__ = ("body", "head", "request_id")

    def __init__(self, head: Passed, request_id: str, body: bytes) -> None:
        self.head = head
        self.request_id = request_id
        self.body = body

    @property
    def headers(self) -> Headers:
        """Return the fields of the head."""
        return [*self.head.headers, (b"x-request-id", self.request_id.encode())]


Step = AskKey | AskModels | AskLimits | AskStandings | Turn | Forward | Answer
"""A `Turn`: wait until it is held, then call `let_in`."""
