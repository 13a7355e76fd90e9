"""What stands in for the recording side: a recorder, a key directory and limits in memory."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import msgspec

from contracts.events import RequestData, UsageData
from contracts.limits import Held, LimitRecord, weighted
from contracts.projection import KeyRecord
from contracts.prompts import PromptData
from proxy.ports import Amounts, DayTotals, Demand, Denial, Grant, Principal, Refusal, Standing

KEY = b"wb-key-of-search"
KEY_RECORD = KeyRecord(id="key_1", tenant="ten_search", team="team_a", user="user_b", revision=1)


class MemoryRecorder:
    """Keeps copies of what it is told, in order."""

    producer = "test-0"
    epoch = "0" * 32

    def __init__(self) -> None:
        self.decisions: list[RequestData] = []
        self.opens: list[RequestData] = []
        self.progress: list[UsageData] = []
        self.closes: list[UsageData] = []
        self.copies: list[PromptData] = []
        self.refusal: Refusal | None = None
        self._ids = 0

    def full(self) -> Refusal | None:
        return self.refusal

    def new_request_id(self) -> str:
        self._ids += 1
        return f"req_{self._ids:06d}"

    def decided(self, data: RequestData, now: datetime) -> None:
        self.decisions.append(msgspec.structs.replace(data))
        if data.admitted_at is not None:
            self.opens.append(self.decisions[-1])

    def progressed(self, request_id: str, draft: UsageData, now: datetime) -> None:
        assert draft.request_id == request_id
        self.progress.append(msgspec.structs.replace(draft))

    def closed(self, data: UsageData, now: datetime) -> None:
        assert data.request_id in {draft.request_id for draft in self.opens}
        assert data.request_id not in {other.request_id for other in self.closes}
        self.closes.append(msgspec.structs.replace(data))

    def copied(self, data: PromptData, now: datetime) -> None:
        self.copies.append(data)


class MemoryDirectory:
    """Knows some keys at once (`cached`), others only when asked for (`distant`)."""

    def __init__(self) -> None:
        self.known: dict[bytes, Principal | Refusal] = {KEY: Principal(KEY_RECORD, {"project": "search"})}
        self.distant: dict[bytes, Principal | Refusal] = {}
        self.asked = 0
        self.addresses: list[str | None] = []

    def cached(self, token: bytes, now: datetime) -> Principal | Refusal | None:
        return self.known.get(token)

    async def find(self, token: bytes, address: str | None, now: datetime) -> Principal | Refusal:
        self.asked += 1
        self.addresses.append(address)
        return self.distant.get(token) or Refusal("invalid_api_key", "Incorrect API key provided.")


CODES = {"concurrency": "concurrency_limit_exceeded", "day": "insufficient_quota", "month": "insufficient_quota"}
RETRY = 12.5


def held(meter: Any, amount: int, window: Any = "minute", **fields: Any) -> Held:
    """Return a limit of the tenant."""
    kind, subject = fields.pop("of", ("tenant", "ten_search"))
    window = None if meter == "concurrency" else window
    return Held(kind, subject, LimitRecord(id=f"lim_{meter}", meter=meter, window=window, amount=amount, **fields))


def holding(*limits: Held, **fields: Any) -> Principal:
    """Return who is held to these."""
    return Principal(KEY_RECORD, {"project": "search"}, limits, **fields)


class MemoryLimits:
    """Counts in one process and without time: what is used of a limit stays so. What is ended twice fails a test.

    `distant`: nothing is known here, who asks has to wait. `away`: it cannot be asked at all.
    """

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()
        self.open: dict[int, tuple[Grant, Demand, Counter[str]]] = {}
        self.demands: list[Demand] = []
        self.settled: list[Amounts] = []
        self.released = 0
        self.distant = self.away = False
        self.waiting: Any = None

    def take(self, demand: Demand, now: datetime) -> Grant | Denial | None:
        return None if self.distant else self._take(demand, now)

    async def wait(self, demand: Demand, now: datetime) -> Grant | Denial:
        if self.waiting is not None:
            await self.waiting.wait()
        return self._take(demand, now)

    def _take(self, demand: Demand, now: datetime) -> Grant | Denial:
        self.demands.append(demand)
        if self.away:
            return Denial("limits_unavailable", "Redis is away.", None, 2.0)
        grant, taken = Grant(), Counter[str]()
        for one in [each for each in demand.who.limits if each.limit.model in (None, demand.model)]:
            limit = one.limit
            need = _need(one, demand.bound if limit.precision == "strict" else demand.estimate)
            left = limit.amount - self.used[one.name] - self._reserved(one.name) - need
            if left < 0:
                code = CODES.get(limit.window or limit.meter, "rate_limit_exceeded")
                never = need > limit.amount
                if never and limit.meter.endswith("tokens"):
                    code = "invalid_request"
                denial = Denial(code, f"Reached {limit.id}.", one, None if never else RETRY)
                if limit.mode == "enforce" and limit.when_reached != "notify":
                    return denial
                if limit.mode == "shadow":
                    grant.doubt = denial
            taken[one.name] = need
            kind = "tokens" if limit.meter.endswith("tokens") else limit.meter
            if kind in ("tokens", "requests"):
                standing = Standing(one, left, now + timedelta(seconds=30))
                if kind not in grant.tightest or grant.tightest[kind].remaining > left:
                    grant.tightest[kind] = standing
        grant.reserved_tokens = demand.bound.input + demand.bound.output
        self.open[id(grant)] = (grant, demand, taken)
        return grant

    def settle(self, grant: Grant, used: Amounts, now: datetime, sequence: int = -1) -> None:
        assert sequence > 0, "the ledger hears of it"
        demand, _ = self._end(grant)
        self.settled.append(used)
        for one in demand.who.limits:
            if one.limit.model in (None, demand.model) and one.limit.meter != "concurrency":
                self.used[one.name] += _need(one, used)

    def release(self, grant: Grant, now: datetime) -> None:
        self._end(grant)
        self.released += 1

    async def standings(self, who: Principal, now: datetime) -> list[Standing]:
        if self.away:
            return []
        renewal = now + timedelta(seconds=30)
        return [Standing(one, one.limit.amount - self.used[one.name], renewal) for one in who.limits]

    def _end(self, grant: Grant) -> tuple[Demand, Counter[str]]:
        assert not grant.ended, "ended twice"
        grant.ended = True
        _, demand, taken = self.open.pop(id(grant))
        return demand, taken

    def _reserved(self, name: str) -> int:
        return sum(taken[name] for _, _, taken in self.open.values())


def _need(one: Held, amounts: Amounts) -> int:
    needs = {
        "requests": 1,
        "concurrency": 1,
        "input_tokens": amounts.input,
        "output_tokens": amounts.output,
        "total_tokens": amounts.input + amounts.output,
        "weighted_tokens": weighted(amounts.input, amounts.output),
    }
    return needs.get(one.limit.meter, 0)


class MemoryTotals:
    """Knows one day."""

    def __init__(self, totals: DayTotals | None) -> None:
        self.totals = totals

    async def day(self, who: Principal, now: datetime) -> DayTotals | None:
        return self.totals
