"""One request, from its arrival to its settlement: a state machine that does no I/O and reads no clock.

    received ─▶ admitted ─▶ forwarded ─▶ streaming ─▶ settled
        └─────▶ denied ─────────────────────────────────▲ (nothing to settle)

A lane tells it what happened, with the time; it says what to do next as a value (`Step`), and builds the two records of a
request: the decision, and the usage. `proxy.desk` performs the steps. Both lanes drive the same exchange.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from contracts.events import Accuracy, Outcome, RequestData, UsageData
from proxy import admission, browsers, errors, limit_answers, me
from proxy.dialects import refused, table
from proxy.dialects.base import Asked, BadRequestError, Call, Dialect
from proxy.dialects.realtime import METHOD as SESSION
from proxy.errors import Answer
from proxy.facts import Facts
from proxy.head_usage import HeadWatcher
from proxy.headers import Headers
from proxy.house import House
from proxy.limited import Limited
from proxy.ports import Amounts, DayTotals, Denial, Grant, Principal, Refusal, Standing
from proxy.prompt_copy import Copy
from proxy.queue.turn import Turn
from proxy.request_head import text
from proxy.steps import Arrival, AskKey, AskLimits, AskModels, AskStandings, Forward, Step
from proxy.tokens import Tokens
from proxy.watch import SessionWatcher, Watcher

State = Literal["received", "denied", "admitted", "forwarded", "streaming", "settled"]
"""Where a request is."""


class Exchange:
    """One request. `decision` is the record of what was decided, None before, and for what is passed on free."""

    __slots__ = (
        "_began",
        "_call",
        "_dialect",
        "_doubt",
        "_facts",
        "_house",
        "_limited",
        "_parameter",
        "_principal",
        "_route",
        "_watcher",
        "admitted",
        "copy",
        "decision",
        "hidden",
        "news",
        "request_id",
        "state",
        "turn",
    )

    def __init__(self, house: House, request_id: str, arrival: Arrival) -> None:
        self.request_id = request_id
        self.state: State = "received"
        self.admitted = False
        """It is metered: its usage is to be recorded."""
        self.news = self._began = False
        self.decision: RequestData | None = None
        self.hidden: bytes | None = None
        self.turn: Turn | None = None
        """What it holds of the instance, or waits for."""
        self._house = house
        sender = arrival.head.sender(house.trusted)
        self._facts = Facts(house.producer, house.epoch, house.instance, request_id, arrival, sender)
        self._doubt: Refusal | None = None
        """Why it would have been denied if rules were enforced."""
        self._route: table.Route | None = None
        self._parameter: str | None = None
        self._principal: Principal | None = None
        self._call: Call | None = None
        self._dialect: Dialect | None = None
        self._watcher: Watcher | None = None
        self._limited: Limited | None = None
        self.copy: Copy | None = None
        """Of prompt and answer, where the tenant's policy asks for it."""

    # -- until it is decided ---------------------------------------------------------------------------------------

    def receive(self) -> Step:
        """Find the route; say what must be known to decide."""
        facts = self._facts
        arrival, head = facts.arrival, facts.arrival.head
        found = head.route(self._house.opened)
        if found is None:
            facts.endpoint = text(head.target.partition(b"?")[0]) or ""
            return self.deny(refused.refusal(head.target))
        self._route, self._parameter = route, _ = found
        facts.endpoint = route.path
        if head.method not in route.methods:
            if browsers.is_preflight(head) and not route.own:
                return self._pass_free()
            answer = self.deny(Refusal("method_not_allowed", f"This path takes {' or '.join(route.methods)}."))
            answer.headers.append((b"allow", ", ".join(route.methods).encode()))
            return answer
        if not route.key:
            return self._pass_free()
        if facts.sender.refusal is not None:
            return self.deny(facts.sender.refusal)
        return (
            AskKey(head.token)
            if head.token is not None
            else self.identified(admission.INVALID_KEY, arrival.received_at)
        )

    def identified(self, who: Principal | Refusal, now: datetime) -> Step:
        """Take the answer to `AskKey`."""
        found = self._recognise(who)
        if isinstance(found, Answer):
            return found
        route, facts = self._route, self._facts
        assert route is not None
        arrival, key = facts.arrival, found.key
        fields = arrival.head.fields
        facts.tags = admission.tags(fields.get(admission.TAGS_HEADER), found.tags)
        dialect = route.dialect
        if dialect is None:
            return self._pass_or_list(found, route, now)
        kind, salt, trusted = (
            fields.get(b"content-type", b""),
            self._house.salt(key.tenant),
            facts.sender.trusted,
        )
        try:
            call = dialect.read(Asked(arrival.body, salt, kind, self._parameter, fields, trusted))
        except BadRequestError as error:
            return self.deny(Refusal(error.code, str(error)))
        self._call = facts.call = call
        facts.model = call.model
        self._dialect = call.by or dialect
        facts.dialect = self._dialect.name
        return self._decide(found, route, call, now, may_ask=True)

    def _recognise(self, who: Principal | Refusal) -> Principal | Answer:
        """Note who sends it; return that, or the denial where nobody may."""
        if isinstance(who, Refusal):
            answer = self._object(who)
            if answer is not None:
                return answer
            who = who.who or admission.ANONYMOUS
        self._principal = who
        self._facts.key = who.key if who is not admission.ANONYMOUS else None
        if self._route is not None and not self._route.salted and not self._house.unsalted:
            return self._object(admission.UNSALTED) or who
        return who

    def listed(self, now: datetime) -> Step:
        """Decide, with what is known of the upstream's models."""
        who, route, call = self._principal, self._route, self._call
        if call is None or who is None or route is None:
            return self._list_models(may_ask=False)
        return self._decide(who, route, call, now, may_ask=False)

    def _decide(self, who: Principal, route: table.Route, call: Call, now: datetime, may_ask: bool) -> Step:
        facts, models = self._facts, self._house.models
        if call.of_no_model:
            return self._check_without_model(who, route, now) or self._hold(who, call, now)
        model = call.model if call.model is not None else models.default
        facts.model = model  # who names none is billed for the one that answers
        served = models.by_name.get(model) if model is not None else None
        if served is None and models.listed and may_ask:
            return AskModels()
        refusal = admission.may(who, route.path, model, facts.sender.client_address, now)
        if refusal is None and served is None and models.listed:
            refusal = Refusal("model_not_found", f"The model `{call.model}` does not exist.")
        answer = self._object(refusal) if refusal is not None else None
        if answer is not None:
            return answer
        if served is not None:
            facts.served_model, facts.base_model = served
        return self._hold(who, call, now)

    def _check_without_model(self, who: Principal, route: table.Route, now: datetime) -> Answer | None:
        """Return the denial of a request that names no model, so that it does not matter which ones the key may use."""
        refusal = admission.check(who.key, route.path, None, self._facts.sender.client_address, now)
        return self._object(refusal) if refusal is not None and refusal.code != "model_not_allowed" else None

    def _pass_or_list(self, who: Principal, route: table.Route, now: datetime) -> Step:
        if route.own:
            return self._ask_standings(who, now)
        answer = self._check_without_model(who, route, now)
        if answer is not None:
            return answer
        shortened = route.lists_models and who.allowed_models is not None and self._house.enforce == "on"
        return self._list_models(may_ask=True) if shortened else self._pass_free()

    def _hold(self, who: Principal, call: Call, now: datetime) -> Step:
        """Ask the limits of whoever sends it; admit it where there are none."""
        if (not who.limits and who.max_tokens is None) or self._house.enforce == "off":
            return self._line_up(who, call, now)
        facts, dialect = self._facts, self._dialect
        assert dialect is not None
        try:
            limited = Limited(self._house, self.request_id, who, call, dialect.takes, facts.arrival.passed, facts.model)
        except BadRequestError as error:
            return self.deny(Refusal(error.code, str(error)))
        self._limited = limited
        if not who.limits or facts.sender.hop != "root":  # the other steps are not billed, and take nothing
            return self._line_up(who, call, now)
        if limited.refused is not None:
            return self._object(Refusal("invalid_request", limited.refused)) or self._line_up(who, call, now)
        return AskLimits(limited.demand)

    def limited(self, found: Grant | Denial, now: datetime) -> Step:
        """Take the answer to `AskLimits`."""
        who, call, limited = self._principal, self._call, self._limited
        assert who is not None
        assert call is not None
        assert limited is not None
        if isinstance(found, Grant):
            limited.grant = limited.tightest = found
            if found.doubt is not None and self._doubt is None:
                self._doubt = limit_answers.refusal(found.doubt, limited.demand.who)
        elif self._house.enforce == "on" and limited.degrade(found):
            return AskLimits(limited.demand)
        else:
            answer = self._object(limit_answers.refusal(found, limited.demand.who))
            if answer is not None:
                return answer
        return self._line_up(who, call, now)

    def _line_up(self, who: Principal, call: Call, now: datetime) -> Step:
        """Ask for a turn. A session has none: it may be silent for hours."""
        if not self._house.turns or call.free or self._facts.arrival.head.method == SESSION:
            return self._admit(call, now)
        self.turn = turn = Turn(who.key.tenant, who.priority, who.weight, len(call.body), now)
        return turn

    def let_in(self, now: datetime, refusal: Refusal | None = None) -> Step:
        """Take it that the turn is held, or why it is not to be sent after all."""
        call, turn = self._call, self.turn
        assert call is not None
        assert turn is not None
        self._facts.queue_seconds = max(0.0, (now - turn.asked_at).total_seconds())
        return self._admit(call, now) if refusal is None else self.deny(refusal)

    def _admit(self, call: Call, now: datetime) -> Forward:
        self.state, self.admitted = "admitted", True
        facts, limited = self._facts, self._limited
        facts.admitted_at = now
        if self._principal is not None and self._principal.record_prompts:
            self.copy = Copy(facts.arrival.body)
        self.decision = facts.admitted(self._doubt)
        if limited is not None:
            if limited.grant is not None:
                self.decision.reserved_tokens = limited.grant.reserved_tokens
            if limited.instead is not None:
                facts.served_model, facts.base_model = self._house.models.by_name[limited.instead]
            if self._house.enforce == "on":  # in shadow nothing is changed
                call.body = limited.body()
        return self._forward(call.body, metered=True)

    def _object(self, refusal: Refusal) -> Answer | None:
        """Deny it where rules are enforced; else return None, and keep the first reason to be recorded."""
        if self._house.enforce == "on":
            return self.deny(refusal)
        if self._house.enforce == "shadow" and self._doubt is None:
            self._doubt = refusal
        return None

    def deny(self, refusal: Refusal) -> Answer:
        """End it here: record the denial, answer with the error."""
        self.state, self.admitted = "denied", False
        answer = self._own(errors.answer(refusal, self.request_id, self._shape))
        self.decision = self._facts.denied(answer.status, refusal)
        return answer

    # -- after it is admitted --------------------------------------------------------------------------------------

    def forwarded(self, now: datetime) -> None:
        """Note that the request was sent upstream."""
        self.state = "forwarded"
        self._facts.forwarded_at = now

    def answered(self, status: int, fields: Mapping[bytes, bytes], now: datetime) -> Headers:
        """Take the head of the answer (`fields`: by lower-case name); return the headers that the client gets of us with it.

        `hidden` names, in lower case, the one of its own that the client does not get; None: there is none.
        """
        self.state = "streaming"
        call, dialect, facts = self._call, self._dialect, self._facts
        facts.arrival.body = b""  # vLLM has it: a prompt is not to take memory for as long as its stream runs
        if call is not None:
            call.body = b""
        origin = facts.arrival.head.fields.get(b"origin")
        if origin is not None:
            self._house.origins.learn(origin, status, fields)
        if self.admitted and call is not None and dialect is not None:
            facts.first_byte_at = now
            facts.status = facts.upstream_status = status
            if status in (200, 101):
                kind = fields.get(b"content-type", b"")
                if call.usage_header is None:
                    events = kind[:17].lower() == b"text/event-stream"
                    self._watcher = dialect.watch(call, events, self._house.fingerprint)
                else:
                    self._watcher = HeadWatcher(fields.get(call.usage_header))
                    self.hidden = call.usage_header if call.hide_usage_header else None
        name = self.request_id.encode()
        added = [(b"x-request-id", name)]
        if self._route is not None and self._route.errors == "anthropic":
            added.append((b"request-id", name))
        return added if self._limited is None else added + self._limits(now)

    def passed(self, data: bytes, last: bool) -> bytes:
        """Take the next bytes of the answer's body; return what the client gets now. Raises sse.StreamError.

        When `news` is true afterwards, call `noticed` with the time before anything goes out.
        """
        if not self.admitted:
            return data
        watcher, facts = self._watcher, self._facts
        if watcher is not None:
            data = watcher.feed(data, last)
            if not self._began or watcher.finished:
                self.news = watcher.finished or watcher.began
        facts.response_bytes = (facts.response_bytes or 0) + len(data)
        if self.copy is not None:
            self.copy.hear(data)
        return data

    def noticed(self, now: datetime) -> None:
        """Note when the first token came."""
        self.news = False
        if self._watcher is not None and self._watcher.began and not self._began:
            self._began = True
            self._facts.first_token_at = now

    def overheard(self, data: bytes, last: bool) -> None:
        """Count bytes that nobody gets: the client left. Raises sse.StreamError."""
        if self._watcher is not None:
            self._watcher.feed(data, last)

    def said(self, data: bytes, now: datetime) -> Refusal | None:
        """Take a message of the client in a session that is open; a refusal says why it must not be passed on."""
        facts, watcher, who, route = self._facts, self._watcher, self._principal, self._route
        if not self.admitted or who is None or route is None or not isinstance(watcher, SessionWatcher):
            return None
        facts.request_bytes += len(data)
        try:
            model = watcher.said(data)
        except BadRequestError as error:
            return Refusal(error.code, str(error))
        if model is None or model == facts.model:
            return None
        served = self._house.models.by_name.get(model)
        enforced = self._house.enforce == "on"
        if served is None and self._house.models.listed:  # vLLM says the same, and the session keeps its model
            return Refusal("model_not_found", f"The model `{model}` does not exist.") if enforced else None
        refusal = admission.may(who, route.path, model, facts.sender.client_address, now) if enforced else None
        if refusal is None:
            facts.model = model
            facts.served_model, facts.base_model = served if served is not None else (None, None)
        return refusal

    @property
    def token(self) -> bytes | None:
        """Return what it shows as a key."""
        return self._facts.arrival.head.token

    @property
    def client_address(self) -> str | None:
        """Return where the request comes from, as far as that is known."""
        return self._facts.sender.client_address

    @property
    def metered(self) -> bool:
        """Return whether there is usage to settle still."""
        return self.admitted and self.state != "settled"

    @property
    def finished(self) -> bool:
        """Return whether the answer said that it is complete, though its framing may not have ended."""
        return self._watcher is not None and self._watcher.finished

    def counted(self, now: datetime) -> UsageData | None:
        """Return the usage so far, to be kept in case this process dies; None when there is nothing new to say."""
        watcher, call = self._watcher, self._call
        if not self.admitted or self.state != "streaming" or watcher is None or call is None:
            return None
        count = watcher.count()
        if count is None:
            return None
        return self._facts.usage(call, None, count.tokens, "proxy_lost", "estimated", None, now)

    def settle(
        self, outcome: Outcome, now: datetime, error_code: str | None = None, all_read: bool = False
    ) -> UsageData | None:
        """End it, once; return the usage to record. None for what is not metered, was denied, or is settled already.

        `outcome` is how the transfer ended; what the answer itself said may turn `completed` into `upstream_error`.
        `all_read`: vLLM knew that nobody listens any more, and all that it had sent by then was read. Of an answer that is
        neither complete nor read to such an end, the engine may have generated more than was seen: that is an estimate.
        """
        call, watcher, facts = self._call, self._watcher, self._facts
        if not self.admitted or self.state == "settled" or call is None:
            return None
        status = facts.upstream_status
        if outcome == "completed" and (
            (watcher is not None and watcher.failed) or (status is not None and status >= 500)
        ):
            outcome = "upstream_error"
        whole = all_read or outcome == "completed" or (watcher is not None and watcher.finished)
        self.state = "settled"
        if watcher is None:
            # Not sent, or refused by vLLM: nothing was generated. Otherwise nobody knows what was.
            nothing = facts.forwarded_at is None or (status is not None and 300 <= status < 500) or call.free
            return facts.usage(call, None, Tokens(), outcome, "exact" if nothing else "unknown", error_code, now)
        count = watcher.count()
        if count is None:
            return facts.usage(call, watcher, Tokens(), outcome, "unknown", error_code, now)
        accuracy: Accuracy = "exact" if count.final or (count.whole and whole) else "estimated"
        return facts.usage(call, watcher, count.tokens, outcome, accuracy, error_code, now)

    def fail(self, code: str, message: str) -> Answer:
        """Return the answer for an upstream that did not answer; the lane settles with the outcome."""
        answer = self._own(errors.answer(Refusal(code, message), self.request_id, self._shape))
        self._facts.status = answer.status
        if self._limited is not None:
            answer.headers.extend(self._limits(self._facts.admitted_at or self._facts.arrival.received_at))
        return answer

    def end_grant(self) -> Grant | None:
        """Return what limits had granted, once: whoever gets it gives it back."""
        limited = self._limited
        if limited is None:
            return None
        grant, limited.grant = limited.grant, None
        return grant

    def used(self, usage: UsageData) -> Amounts | None:
        """Return what it used of what was granted; None: it was never sent."""
        limited = self._limited
        if limited is None or self._facts.forwarded_at is None:
            return None
        limited.learn(usage)
        return limited.used(usage)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _limits(self, now: datetime) -> Headers:
        """Return the headers that tell how the limits stand."""
        limited = self._limited
        if limited is None or limited.tightest is None:
            return []
        return limit_answers.fields(limited.tightest, self._shape, now)

    @property
    def _shape(self) -> errors.Shape:
        route = self._route
        if route is None:  # refused before it was looked for
            found = self._facts.arrival.head.route(self._house.opened)
            route = found[0] if found is not None else None
        return route.errors if route is not None else "openai"

    def _own(self, answer: Answer) -> Answer:
        """Let a browser read an answer of ours, if it may read vLLM's."""
        origin = self._facts.arrival.head.fields.get(b"origin")
        if origin is not None:
            answer.headers.extend(self._house.origins.fields(origin))
        return answer

    def _list_models(self, may_ask: bool) -> Step:
        """Answer in vLLM's place: its list has models that this key may not use."""
        who, models = self._principal, self._house.models
        assert who is not None
        self.state = "admitted"
        if may_ask:
            return AskModels()
        if not models.listed:
            return self.fail("upstream_unreachable", "vLLM did not say which models it serves.")
        return self._own(errors.own(models.listing(who.allowed_models or ()), self.request_id))

    def _ask_standings(self, who: Principal, now: datetime) -> Step:
        """Let somebody see how they stand, whatever else their key is for."""
        refusal = admission.check(who.key, "", None, self._facts.sender.client_address, now)
        if who is admission.ANONYMOUS:
            return self.deny(admission.INVALID_KEY)
        if refusal is not None and refusal.code not in ("model_not_allowed", "endpoint_not_allowed"):
            return self._object(refusal) or AskStandings(who)
        return AskStandings(who)

    def standing(self, standings: list[Standing], totals: DayTotals | None, now: datetime) -> Answer:
        """Take the answer to `AskStandings`."""
        assert self._principal is not None
        self.state = "admitted"
        return self._own(errors.own(me.describe(self._principal, standings, totals, now), self.request_id))

    def _pass_free(self) -> Step:
        self.state = "admitted"
        if self._doubt is not None:
            self.decision = self._facts.let_through(self._doubt)
        return self._forward(self._facts.arrival.body, metered=False)

    def _forward(self, body: bytes, metered: bool) -> Forward:
        passed = self._facts.arrival.head.passed(self._house.authorization, metered, self._facts.sender.trusted)
        return Forward(passed, self.request_id, body)
