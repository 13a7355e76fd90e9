"""What goes in and out of an exchange: a request as it came, and what to do next, as values."""

from datetime import datetime

import msgspec

from proxy.errors import Answer
from proxy.headers import Headers


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A request as it came in. `size` counts the bytes of head and body; `fields` are the headers by lower-case name."""

    method: str
    target: bytes
    headers: Headers
    fields: dict[bytes, bytes]
    body: bytes
    size: int
    client_address: str | None
    received_at: datetime


class AskKey(msgspec.Struct, frozen=True, gc=False):
    """Find out who a token belongs to, then call `identified`."""

    token: bytes


class AskModels(msgspec.Struct, frozen=True, gc=False):
    """Look again at what the upstream serves, then call `listed`."""


class Forward(msgspec.Struct, frozen=True, gc=False):
    """Send this upstream, then call `forwarded`."""

    method: str
    target: bytes
    headers: Headers
    body: bytes


Step = AskKey | AskModels | Forward | Answer
