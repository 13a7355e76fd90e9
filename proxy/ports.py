"""The seams inside the proxy: what a request's way (lanes, exchange) needs of the parts that remember and look up.

The lanes know nothing of disks, Kafka or Redis; they know these protocols. Nothing here may wait on the request path: a
method without `async` returns at once.
"""

from datetime import datetime
from typing import Protocol

import msgspec

from contracts.events import RequestData, UsageData
from contracts.projection import KeyRecord


class Principal(msgspec.Struct, frozen=True):
    """Who sends a request: an active key of an active tenant. Tags of key, user, team and tenant merged, the key's first."""

    key: KeyRecord
    tags: dict[str, str]


class Refusal(msgspec.Struct, frozen=True, eq=False):
    """Why a request is not let in: a code of the outside interface (`proxy.errors` has its status) and words for people.

    `who`: whose key it showed, where that is known all the same; requests that pass without a check are recorded as theirs.
    Refusals that say the same are equal.
    """

    code: str
    message: str
    who: Principal | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refusal) and (self.code, self.message) == (other.code, other.message)

    def __ne__(self, other: object) -> bool:  # msgspec has one, which does not ask `__eq__`
        return not self == other

    def __hash__(self) -> int:
        return hash((self.code, self.message))


class KeyDirectory(Protocol):
    """Finds out who a token belongs to."""

    def cached(self, token: bytes, now: datetime) -> Principal | Refusal | None:
        """Answer from memory; None: not known here, ask `find`."""

    async def find(self, token: bytes, now: datetime) -> Principal | Refusal:
        """Answer from Redis, or from what is remembered while Redis is away."""


class Recorder(Protocol):
    """Remembers requests so that none is lost: each call returns once the record would survive `kill -9` of this process.

    The recorder gives `producer` and `epoch`, and sets `sequence` when a record becomes final.
    """

    producer: str
    epoch: str

    def full(self) -> Refusal | None:
        """Return why no more requests can be taken (`spool_full`), or None."""

    def new_request_id(self) -> str:
        """Return an id that no other request ever has."""

    def decided(self, data: RequestData, now: datetime) -> None:
        """Record a decision, to be published as a request event; what was admitted becomes `proxy_lost` if nothing follows."""

    def progressed(self, request_id: str, draft: UsageData, now: datetime) -> None:
        """Record the counts of a long stream so far."""

    def closed(self, data: UsageData, now: datetime) -> None:
        """Record the end of a request, to be published as a usage event; called before its last byte goes out."""
