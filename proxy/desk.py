"""The shell around exchanges: asks who a key belongs to, records decisions and usage, counts. Both lanes work through it."""

import hmac
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from prometheus_client import CollectorRegistry

from contracts.clock import utc_now
from contracts.events import Outcome, UsageData
from contracts.limits import weighted
from proxy.config import TrafficConfig
from proxy.dialects import table
from proxy.errors import Answer
from proxy.exchange import Exchange
from proxy.house import House
from proxy.meters import Meters
from proxy.models import Catalog, Fetch, ModelWatch
from proxy.ports import Grant, KeyDirectory, Limits, Recorder, Refusal, Totals
from proxy.queue.gate import Gate
from proxy.queue.turn import Turn
from proxy.sse import Fingerprint
from proxy.steps import Arrival, AskKey, AskLimits, AskModels, AskStandings, Forward, Step
from proxy.streamed.preview import Preview

Ask = AskKey | AskModels | AskLimits | AskStandings | Turn
Decided = Forward | Answer


class Desk:
    """One for a process. Everything but `wait` returns at once."""

    def __init__(
        self,
        config: TrafficConfig,
        recorder: Recorder,
        directory: KeyDirectory,
        registry: CollectorRegistry,
        fetch_models: Fetch,
        *,
        meters: Meters | None = None,
        limits: Limits | None = None,
        totals: Totals | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`meters`: those of a process with several upstreams; else they are made in `registry`.

        `limits` None: nobody counts, all is granted. `totals`: who knows what the ledger holds.
        `gate`: the way into the queue that other workers of this upstream stand in, too; None: there are none.
        """
        key = config.upstream_api_key
        self.house = House(
            instance=config.instance,
            producer=recorder.producer,
            epoch=recorder.epoch,
            authorization=b"Bearer " + key.encode() if key else None,
            salt=_salter(config.cache_salt_key),
            models=Catalog(),
            fingerprint=Fingerprint(),
            opened=table.free(config.free_paths),
            enforce=config.enforce,
            trusted=config.trusted_proxies,
            unsalted=config.unsalted == "allow",
            turns=config.enforce == "on",
        )
        self.gate = gate if gate is not None else Gate.alone(config.capacity, config.queue_length, config.queue_timeout)
        self.models = ModelWatch(fetch_models, config.models_interval, self._list)
        self.in_flight = 0
        self.queued = 0
        """How many requests wait for a connection to the upstream."""
        self._recorder = recorder
        self._directory = directory
        self._limits, self._totals = limits, totals
        self._meters = meters if meters is not None else Meters(registry)

    def open(self, arrival: Arrival) -> tuple[Exchange, Decided | Ask]:
        """Begin an exchange. An `Ask` in return has to wait: pass it to `wait`."""
        exchange = Exchange(self.house, self._recorder.new_request_id(), arrival)
        return exchange, self._drive(exchange, exchange.receive(), arrival.received_at)

    async def wait(self, exchange: Exchange, ask: Ask) -> Decided:
        """Find out what could not be answered from memory."""
        step: Decided | Ask = ask
        while not isinstance(step, Forward | Answer):
            step = self._drive(exchange, await self._find_out(exchange, step), utc_now())
        return step

    async def _find_out(self, exchange: Exchange, ask: Ask) -> Step:
        if isinstance(ask, AskKey):
            who = await self._directory.find(ask.token, exchange.client_address, utc_now())
            return exchange.identified(who, utc_now())
        if isinstance(ask, AskModels):
            await self.models.refresh()
            return exchange.listed(utc_now())
        if isinstance(ask, Turn):
            refusal = await self._stand_in_line(exchange, ask)
            return exchange.let_in(utc_now(), refusal)
        limits = self._limits
        if isinstance(ask, AskLimits):
            found = await limits.wait(ask.demand, utc_now()) if limits is not None else Grant()
            return exchange.limited(found, utc_now())  # at once: nobody else knows of what was granted
        standings = await limits.standings(ask.who, utc_now()) if limits is not None else []
        totals = await self._totals.day(ask.who, utc_now()) if self._totals is not None else None
        return exchange.standing(standings, totals, utc_now())

    async def begin(self, preview: Preview, now: datetime) -> Decided:
        """Find out whether a request may be sent whose body is to come; a `Forward` has its head."""
        step = self._drive(preview, preview.receive(), now)
        return step if isinstance(step, Forward | Answer) else await self.wait(preview, step)

    def complete(self, preview: Preview, arrival: Arrival) -> tuple[Exchange, Decided | Ask]:
        """Begin the exchange of a request that was previewed, now that its body was read; as `open` otherwise."""
        exchange = Exchange(self.house, preview.request_id, arrival)
        return exchange, self._drive(exchange, exchange.receive(), arrival.received_at)

    def deny(self, preview: Preview, refusal: Refusal, now: datetime) -> Answer:
        """End a request before it was whole."""
        answer = preview.deny(refusal)
        self._decide(preview, now)
        return answer

    def turned_down(self, preview: Preview, status: int, now: datetime) -> None:
        """Record that vLLM answered before it had the whole request, with an error."""
        preview.turned_down(status)
        self._decide(preview, now)

    def preview(self, arrival: Arrival) -> Preview:
        """Return a request whose body is to come."""
        return Preview(self.house, self._recorder.new_request_id(), arrival)

    def refuse(self, arrival: Arrival, code: str, message: str) -> Answer:
        """Answer a request that could not even be read to its end."""
        exchange = Exchange(self.house, self._recorder.new_request_id(), arrival)
        answer = exchange.deny(Refusal(code, message))
        self._decide(exchange, arrival.received_at)
        return answer

    def settle(
        self,
        exchange: Exchange,
        outcome: Outcome,
        now: datetime,
        error_code: str | None = None,
        all_read: bool = False,
    ) -> None:
        """Record the end of an exchange; what was settled before stays as it was. See `Exchange.settle`."""
        usage = exchange.settle(outcome, now, error_code, all_read)
        if usage is not None:
            self._recorder.closed(usage, now)
            if exchange.copy is not None:
                self._recorder.copied(exchange.copy.data(usage), now)
            self.in_flight -= 1
            self._meters.settle(usage)
        self._give_back(exchange, usage, now)

    def progress(self, exchange: Exchange, now: datetime) -> None:
        """Record the counts of a stream that is still open."""
        usage = exchange.counted(now)
        if usage is not None:
            self._recorder.progressed(exchange.request_id, usage, now)
            used = _weighted(usage)
            if exchange.turn is not None and used is not None:
                self.gate.charge(exchange.turn, used)

    def flush_metrics(self) -> None:
        """Write out what was counted."""
        self._meters.flush(self.in_flight, self.queued + self.gate.waiting)

    def _drive(self, exchange: Exchange, step: Step, now: datetime) -> Decided | Ask:
        while not isinstance(step, Forward | Answer):
            following = self._at_once(exchange, step, now)
            if following is None:
                return step
            step = following
        if exchange.admitted and isinstance(step, Forward):
            full = self._recorder.full()
            if full is not None:
                step = exchange.deny(full)
        self._decide(exchange, now)
        return step

    def _at_once(self, exchange: Exchange, ask: Ask, now: datetime) -> Step | None:
        """Answer from memory, or let in where there is room; None: it has to wait."""
        if isinstance(ask, AskKey):
            who = self._directory.cached(ask.token, now)
            return exchange.identified(who, now) if who is not None else None
        if isinstance(ask, AskModels):
            return exchange.listed(now) if not self.models.may_look() else None
        if isinstance(ask, AskLimits):
            found = self._limits.take(ask.demand, now) if self._limits is not None else Grant()
            return exchange.limited(found, now) if found is not None else None
        return exchange.let_in(now) if isinstance(ask, Turn) and self.gate.enter(ask) else None

    def _give_back(self, exchange: Exchange, usage: UsageData | None, now: datetime) -> None:
        """End what limits granted, and its turn: once, whatever becomes of the request. `usage` None: it was never let in."""
        if exchange.turn is not None:
            self.gate.leave(exchange.turn, _weighted(usage) if usage is not None else 0)
        grant = exchange.end_grant()
        if grant is None or self._limits is None:
            return
        used = exchange.used(usage) if usage is not None else None
        if usage is None or used is None:
            self._limits.release(grant, now)
        else:
            self._limits.settle(grant, used, now, usage.sequence)

    def _decide(self, exchange: Exchange, now: datetime) -> None:
        decision = exchange.decision
        if decision is None:
            return
        self._recorder.decided(decision, now)
        if exchange.state == "denied":
            self._meters.deny(decision)
            self._give_back(exchange, None, now)
            return
        if decision.decision == "would_deny":
            self._meters.doubt(decision)
        if exchange.admitted:
            self.in_flight += 1

    async def _stand_in_line(self, exchange: Exchange, turn: Turn) -> Refusal | None:
        """Wait for a turn; return why there is none, or why the sender may not use it: keys are revoked meanwhile."""
        try:
            refusal, token = await self.gate.wait(turn), exchange.token
            if refusal is not None or token is None:
                return refusal
            who = self._directory.cached(token, utc_now())
            if who is None:
                who = await self._directory.find(token, exchange.client_address, utc_now())
        except BaseException:
            self._give_back(exchange, None, utc_now())
            raise
        return who if isinstance(who, Refusal) else None

    def _list(self, catalog: Catalog) -> None:
        self.house.models = catalog


def _weighted(usage: UsageData) -> int | None:
    """Return the weighted tokens of a request, None where nothing was reported."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return 0 if usage.accuracy == "exact" else None
    return weighted(usage.input_tokens or 0, usage.output_tokens or 0)


def _salter(secret: bytes) -> Callable[[str], str]:
    """Return tenant → cache salt: an HMAC, so that no tenant can name another one's."""

    @lru_cache(maxsize=65536)
    def salt(tenant: str) -> str:
        return hmac.digest(secret, b"cache-salt:" + tenant.encode(), "sha256").hex()

    return salt
