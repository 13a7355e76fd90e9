"""What was decided for a key or token, as it is kept."""

from datetime import datetime
from typing import Any

from proxy.identity import Identity
from proxy.ports import Principal, Refusal


class Answer:
    """Holds until `expires_at`, and is looked up again after `recheck_at`; `identity` says which records it depends on."""

    __slots__ = ("expires_at", "identity", "recheck_at", "result")

    def __init__(
        self, result: Principal | Refusal, expires_at: datetime, recheck_at: datetime, identity: Identity
    ) -> None:
        self.result = result
        self.expires_at = expires_at
        self.recheck_at = recheck_at
        self.identity = identity


def keep(entries: dict[bytes, Any], token: bytes, value: Any, most: int) -> None:
    """Add an entry, and drop the oldest where there are more than `most`."""
    entries.pop(token, None)
    entries[token] = value
    if len(entries) > most:
        del entries[next(iter(entries))]
