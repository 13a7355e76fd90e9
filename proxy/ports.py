"""The seams inside the proxy: what a request's way (lanes, exchange) needs of the parts that remember and look up.

The lanes know nothing of disks, Kafka or Redis; they know these protocols. Nothing here may wait on the request path: a
method without `async` returns at once.
"""

from datetime import datetime
from typing import Protocol

import msgspec

from contracts.events import RequestData, UsageData
from contracts.limits import Held, Priority
from contracts.projection import KeyRecord
from contracts.prompts import PromptData


class Principal(msgspec.Struct, frozen=True):
    """Who sends a request: an active key of an active tenant. Tags of key, user, team and tenant merged, the key's first."""

    key: KeyRecord
    tags: dict[str, str]
    limits: tuple[Held, ...] = ()
    """Every limit of tenant, team, user and key, those of their plans included, for any model."""
    time_zone: str = "UTC"
    """The tenant's: its days and months begin there."""
    plan_models: tuple[frozenset[str], ...] = ()
    """Models that the plans allow; a request's must be in each of these sets."""
    max_tokens: int | None = None
    """The smallest cap of the plans on what one answer may have."""
    priority: Priority = "interactive"
    weight: int = 100
    record_prompts: bool = False
    """The tenant's policy: what is asked and answered is copied (`proxy.copies`)."""

    @property
    def allowed_models(self) -> frozenset[str] | None:
        """Models that both the key and every plan allow; None: any."""
        sets = self.plan_models if self.key.models is None else (*self.plan_models, frozenset(self.key.models))
        return frozenset.intersection(*sets) if sets else None


class Refusal(msgspec.Struct, frozen=True, eq=False):
    """Why a request is not let in: a code of the outside interface (`proxy.errors` has its status) and words for people.

    `who`: whose key it showed, where that is known all the same; requests that pass without a check are recorded as theirs.
    `limit`: the id of the limit that denies it. `retry_after`: seconds until it would get through, None: it never would.
    Refusals that say the same are equal.
    """

    code: str
    message: str
    who: Principal | None = None
    limit: str | None = None
    retry_after: float | None = 1.0

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

    async def find(self, token: bytes, address: str | None, now: datetime) -> Principal | Refusal:
        """Answer from Redis, or from what is remembered while Redis is away. `address`: the client's, None: not known."""


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

    def copied(self, data: PromptData, now: datetime) -> None:
        """Have a copy of a prompt and its answer sent; it may be lost."""


class DayTotals(msgspec.Struct, frozen=True):
    """What the ledger holds of a tenant's day so far."""

    requests: int
    input_tokens: int
    output_tokens: int


class Totals(Protocol):
    """Knows what the ledger holds."""

    async def day(self, who: Principal, now: datetime) -> DayTotals | None:
        """Return what is known of the tenant's day, in its zone; None: nothing."""


class Amounts(msgspec.Struct, frozen=True):
    """What one request takes of the meters; `cost` in millionths of the tenant's currency, None: prices are not known."""

    input: int
    output: int
    cost: int | None = None


class Demand(msgspec.Struct, frozen=True):
    """What a request asks of its limits: `bound` is never exceeded, `estimate` is what it will probably take."""

    request_id: str
    who: Principal
    model: str | None
    bound: Amounts
    estimate: Amounts


class Standing(msgspec.Struct, frozen=True):
    """How a limit stands, as far as this process knows: what is left, and when all of it is there again."""

    held: Held
    remaining: int
    resets_at: datetime


class Denial(msgspec.Struct, frozen=True):
    """Why limits do not let a request in. `retry_after`: seconds until it would get through if nobody else came; None: never.

    `held` None: the limits could not be asked (`limits_unavailable`).
    """

    code: str
    message: str
    held: Held | None
    retry_after: float | None


class Grant:
    """What was reserved for one request, in one step on all levels. Ended by `settle` or `release`, the first counts."""

    __slots__ = ("doubt", "ended", "reserved_tokens", "tightest")

    def __init__(self) -> None:
        self.doubt: Denial | None = None
        """What limits in shadow would have denied."""
        self.ended = False
        self.reserved_tokens = 0
        self.tightest: dict[str, Standing] = {}
        """`requests` and `tokens` → the tightest limit of that kind, for the answer's headers."""


class Limits(Protocol):
    """Reserves before, settles after. Nothing is exceeded and a refused request takes nothing, whoever else asks meanwhile."""

    def take(self, demand: Demand, now: datetime) -> Grant | Denial | None:
        """Answer from what this process holds; None: ask `wait`."""

    async def wait(self, demand: Demand, now: datetime) -> Grant | Denial:
        """Answer after asking Redis, or by what each limit says of an outage."""

    def settle(self, grant: Grant, used: Amounts, now: datetime, sequence: int = -1) -> None:
        """Replace what was reserved by what was used; concurrency is given back.

        `sequence`: of the usage event that tells the ledger; below 0: none does.
        """

    def release(self, grant: Grant, now: datetime) -> None:
        """Give everything back: the request was never sent."""

    async def standings(self, who: Principal, now: datetime) -> list[Standing]:
        """Return how every limit of somebody stands; those that cannot be asked are left out."""
