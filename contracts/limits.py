"""Limits as all services know them: whose use is limited, of what, over which window, and how surely.

The billing service keeps limits and plans in SQL and projects them (`contracts.projection`); the proxy enforces them; the
stream measures calendar windows against the ledger. Amounts are integers: tokens, requests, slots, or millionths of the
tenant's currency (`MICRO`).
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Meter = Literal["requests", "input_tokens", "output_tokens", "total_tokens", "weighted_tokens", "cost", "concurrency"]
Window = Literal["second", "minute", "hour", "day", "month"]
Precision = Literal["strict", "expected"]
"""`strict`: never exceeded, an upper bound is reserved; `expected`: an estimate is reserved."""
Mode = Literal["enforce", "shadow"]
OnOutage = Literal["deny", "allow", "share"]
"""What holds while Redis cannot be asked: nobody is let in, everybody, or each proxy enforces its share."""
WhenReached = Literal["block", "notify", "degrade"]
"""What happens at 100 %: requests are denied, only an alert is raised, or `degrade_to` answers instead."""
Priority = Literal["interactive", "batch"]
SubjectKind = Literal["tenant", "team", "user", "key"]

LEVELS: Final[tuple[SubjectKind, ...]] = ("tenant", "team", "user", "key")
"""From the widest to the narrowest."""
CALENDAR: Final[frozenset[str]] = frozenset({"day", "month"})
"""Windows of the tenant's calendar. The others slide."""
MICRO: Final = 1_000_000
"""A cost of 1 in the tenant's currency, as an amount. A reserved cost is rounded up to whole millionths."""
INPUT_WEIGHT: Final = 1
OUTPUT_WEIGHT: Final = 2
"""Weighted tokens are input × 1 + output × 2: what the fair queue counts too."""


class LimitRecord(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A limit. `model` None: of all models together. A limit of concurrency has no window.

    `notify_at`: percentages of the amount at which an alert is raised, once a period.
    """

    id: str
    model: str | None = None
    meter: Meter
    window: Window | None = None
    amount: Annotated[int, Meta(ge=0)]
    precision: Precision = "strict"
    mode: Mode = "enforce"
    on_outage: OnOutage = "deny"
    notify_at: tuple[int, ...] = (50, 80, 100)
    when_reached: WhenReached = "block"
    degrade_to: str | None = None

    @property
    def place(self) -> tuple[str | None, Meter, Window | None]:
        """What a subject has one limit of at most: its own replaces its plan's."""
        return self.model, self.meter, self.window


class PlanRecord(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What many subjects share: limits (each subject has its own count), models, and their standing in the queue.

    `weight` is the share of a busy instance, against other tenants' weights. `max_tokens` caps what one answer may have.
    """

    id: str
    limits: tuple[LimitRecord, ...] = ()
    models: tuple[str, ...] | None = None
    priority: Priority = "interactive"
    weight: Annotated[int, Meta(ge=1, le=10_000)] = 100
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    revision: int


class Held(msgspec.Struct, frozen=True):
    """A limit and who is held to it. `name` is what counters are kept under: it does not change when the amount does."""

    kind: SubjectKind
    subject: str
    limit: LimitRecord

    @property
    def name(self) -> str:
        """Subject, model, meter and window: `user:user_1:*:total_tokens:minute`."""
        limit = self.limit
        return f"{self.kind}:{self.subject}:{limit.model or '*'}:{limit.meter}:{limit.window or 'now'}"


def of_subject(kind: SubjectKind, subject: str, own: Iterable[LimitRecord], plan: PlanRecord | None) -> Iterator[Held]:
    """Yield the limits of one subject: its own, and those of its plan that its own do not replace."""
    own = tuple(own)
    places = {limit.place for limit in own}
    planned = plan.limits if plan is not None else ()
    for limit in (*own, *(each for each in planned if each.place not in places)):
        yield Held(kind, subject, limit)


def weighted(input_tokens: int, output_tokens: int) -> int:
    """Return weighted tokens."""
    return INPUT_WEIGHT * input_tokens + OUTPUT_WEIGHT * output_tokens
