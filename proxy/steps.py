"""What goes in and out of an exchange: a request as it came, and what to do next, as values.

They are plain classes: made and read at every request, and never decoded or compared.
"""

from datetime import datetime

from proxy.errors import Answer
from proxy.headers import Headers
from proxy.request_head import Passed, RequestHead


class Arrival:
    """A request as it came in. `size` counts the bytes of head and body."""

    __slots__ = ("body", "head", "received_at", "size")

    def __init__(self, head: RequestHead, body: bytes, size: int, received_at: datetime) -> None:
        self.head = head
        self.body = body
        self.size = size
        self.received_at = received_at


class AskKey:
    """Find out who a token belongs to, then call `identified`."""

    __slots__ = ("token",)

    def __init__(self, token: bytes) -> None:
        self.token = token


class AskModels:
    """Look again at what the upstream serves, then call `listed`."""

    __slots__ = ()


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


Step = AskKey | AskModels | Forward | Answer
