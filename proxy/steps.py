"""What goes in and out of an exchange: a request as it came, and what to do next, as values.

They are plain classes: made and read at every request, and never decoded or compared.
"""

from datetime import datetime

from proxy.errors import Answer
from proxy.headers import Headers


class Arrival:
    """A request as it came in. `size` counts the bytes of head and body; `fields` are the headers by lower-case name."""

    __slots__ = ("body", "client_address", "fields", "headers", "method", "received_at", "size", "target")

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: Headers,
        fields: dict[bytes, bytes],
        body: bytes,
        size: int,
        client_address: str | None,
        received_at: datetime,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.fields = fields
        self.body = body
        self.size = size
        self.client_address = client_address
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

    __slots__ = ("body", "headers", "method", "target")

    def __init__(self, method: str, target: bytes, headers: Headers, body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body


Step = AskKey | AskModels | Forward | Answer
