"""One request, from its arrival to its settlement: a state machine that does no I/O and reads no clock.

    received ─▶ admitted ─▶ forwarded ─▶ streaming ─▶ settled
        └─────▶ denied ─────────────────────────────────▲ (nothing to settle)

A lane tells it what happened, with the time; it says what to do next as a value (`Step`), and builds the two records of a
request: the decision, and the usage. `proxy.desk` performs the steps. Both lanes drive the same exchange.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum, auto
from typing import Final

import msgspec

from contracts.events import UNASSIGNED, Accuracy, Outcome, RequestData, UsageData
from proxy import admission, errors, headers
from proxy.dialects import refused, table
from proxy.dialects.base import Asked, BadRequestError, Call, Dialect
from proxy.errors import Answer
from proxy.head_usage import take_head
from proxy.headers import Headers
from proxy.models import Catalog, Served
from proxy.ports import Principal, Refusal
from proxy.sse import Fingerprint
from proxy.steps import Arrival, AskKey, AskModels, Forward, Step
from proxy.usage import Tokens
from proxy.watch import SessionWatcher, Watcher

_MAX_TEXT: Final = 2048


class State(Enum):
    """Where a request is."""

    RECEIVED = auto()
    DENIED = auto()
    ADMITTED = auto()
    FORWARDED = auto()
    STREAMING = auto()
    SETTLED = auto()


class House(msgspec.Struct):
    """What all exchanges of one upstream share."""

    instance: str
    producer: str
    epoch: str
    authorization: bytes | None
    """The upstream's own key, as a header value."""
    salt: Callable[[str], str]
    """Tenant → the salt of its cached prefixes."""
    models: Catalog
    fingerprint: Fingerprint
    opened: dict[bytes, table.Route] = {}
    """Paths that the operator lets pass unmetered."""


class Exchange:
    """One request. `decision` and `usage` are the records so far, None while there is nothing to record."""

    __slots__ = (
        "_arrival",
        "_began",
        "_call",
        "_dialect",
        "_house",
        "_parameter",
        "_principal",
        "_record",
        "_route",
        "_watcher",
        "news",
        "request_id",
        "state",
        "usage",
    )

    def __init__(self, house: House, request_id: str, arrival: Arrival) -> None:
        self.request_id = request_id
        self.state = State.RECEIVED
        self.news = self._began = False
        self.usage: UsageData | None = None
        self._house = house
        self._arrival = arrival
        self._route: table.Route | None = None
        self._principal: Principal | None = None
        self._parameter: str | None = None
        self._call: Call | None = None
        self._dialect: Dialect | None = None
        self._watcher: Watcher | None = None
        self._record = RequestData(  # filled in as things become known
            producer=house.producer,
            epoch=house.epoch,
            sequence=1,  # the recorder gives the real one when a record becomes final
            request_id=request_id,
            tenant=UNASSIGNED,
            instance=house.instance,
            endpoint="",
            decision="denied",
            received_at=arrival.received_at,
            client_address=arrival.client_address,
            client_request_id=_text(arrival.fields.get(b"x-request-id")),
            user_agent=_text(arrival.fields.get(b"user-agent")),
        )

    @property
    def decision(self) -> RequestData | None:
        """Return the record of the decision; None before it, and for what is passed on free."""
        return self._record if self.usage is not None or self.state is State.DENIED else None

    # -- until it is decided ---------------------------------------------------------------------------------------

    def receive(self) -> Step:
        """Find the route; say what must be known to decide."""
        found = table.find(self._arrival.target, self._house.opened)
        if found is not None:
            self._route, self._parameter = found
        route = self._route
        self._record.endpoint = (
            route.path if route is not None else _text(self._arrival.target.partition(b"?")[0]) or ""
        )
        if route is None:
            return self.deny(refused.refusal(self._arrival.target))
        if self._arrival.method not in route.methods:
            answer = self.deny(Refusal("method_not_allowed", f"This path takes {' or '.join(route.methods)}."))
            answer.headers.append((b"allow", ", ".join(route.methods).encode()))
            return answer
        if not route.key:
            return self._pass_free()
        token = admission.token(self._arrival.fields)
        return AskKey(token) if token is not None else self.deny(admission.INVALID_KEY)

    def identified(self, who: Principal | Refusal, now: datetime) -> Step:
        """Take the answer to `AskKey`."""
        if isinstance(who, Refusal):
            return self.deny(who)
        route = self._route
        assert route is not None
        self._principal = who
        key, record = who.key, self._record
        record.tenant, record.team, record.user, record.key = key.tenant, key.team, key.user, key.id
        record.tags = admission.tags(self._arrival.fields.get(admission.TAGS_HEADER), who.tags)
        if route.dialect is None:
            refusal = admission.check(who.key, route.path, None, self._arrival.client_address, now)
            unfit = refusal is not None and refusal.code != "model_not_allowed"  # a free path names no model
            if refusal is not None and unfit:
                return self.deny(refusal)
            shortened = route.lists_models and key.models is not None
            return self._list_models(may_ask=True) if shortened else self._pass_free()
        try:
            self._call = call = route.dialect.read(self._asked(key.tenant))
        except BadRequestError as error:
            return self.deny(Refusal(error.code, str(error)))
        record.model, record.stream, record.end_user = call.model, call.stream, call.end_user
        self._dialect = call.by or route.dialect
        record.dialect = self._dialect.name
        return self._decide(now, may_ask=True)

    def listed(self, now: datetime) -> Step:
        """Decide, with what is known of the upstream's models."""
        return self._decide(now, may_ask=False) if self._call is not None else self._list_models(may_ask=False)

    def _decide(self, now: datetime, may_ask: bool) -> Step:
        route, who, call, models = self._route, self._principal, self._call, self._house.models
        assert route is not None
        assert who is not None
        assert call is not None
        if call.of_no_model:
            refusal = admission.check(who.key, route.path, None, self._arrival.client_address, now)
            unfit = refusal is not None and refusal.code != "model_not_allowed"
            return self.deny(refusal) if refusal is not None and unfit else self._admit(call, None, now)
        model = call.model if call.model is not None else models.default
        self._record.model = model  # who names none is billed for the one that answers
        served = models.by_name.get(model) if model is not None else None
        if served is None and models.listed and may_ask:
            return AskModels()
        refusal = admission.check(who.key, route.path, model, self._arrival.client_address, now)
        if refusal is not None:
            return self.deny(refusal)
        if served is None and models.listed:
            return self.deny(Refusal("model_not_found", f"The model `{call.model}` does not exist."))
        return self._admit(call, served, now)

    def deny(self, refusal: Refusal) -> Answer:
        """End it here: record the denial, answer with the error."""
        self.state = State.DENIED
        self.usage = None
        answer = errors.answer(refusal, self.request_id, self._shape)
        record = self._record
        record.decision, record.admitted_at = "denied", None
        record.status, record.code, record.reason = answer.status, refusal.code, refusal.message[:_MAX_TEXT]
        return answer

    # -- after it is admitted --------------------------------------------------------------------------------------

    def forwarded(self, now: datetime) -> None:
        """Note that the request was sent upstream."""
        self.state = State.FORWARDED
        if self.usage is not None:
            self.usage.forwarded_at = now

    def answered(self, status: int, received: Headers, fields: Mapping[bytes, bytes], now: datetime) -> Headers:
        """Take the head of the answer (`fields`: by lower-case name); return the headers for the client."""
        self.state = State.STREAMING
        usage, call, dialect = self.usage, self._call, self._dialect
        if usage is not None and call is not None and dialect is not None:
            usage.first_byte_at = now
            usage.status = usage.upstream_status = status
            if status in (200, 101):
                kind = fields.get(b"content-type", b"")
                self._watcher = dialect.watch(call, kind[:17].lower() == b"text/event-stream", self._house.fingerprint)
                if call.usage_header is not None:
                    self._watcher, received = take_head(call, received, fields)
        passed = headers.to_client(received, self.request_id)
        if self._route is not None and self._route.errors == "anthropic":
            passed.append((b"request-id", self.request_id.encode()))
        return passed

    def passed(self, data: bytes, last: bool) -> bytes:
        """Take the next bytes of the answer's body; return what the client gets now. Raises sse.StreamError.

        When `news` is true afterwards, call `noticed` with the time before anything goes out.
        """
        usage = self.usage
        if usage is None:
            return data
        watcher = self._watcher
        if watcher is not None:
            data = watcher.feed(data, last)
            if watcher.finished or not self._began:
                self.news = watcher.finished or watcher.began
        usage.response_bytes = (usage.response_bytes or 0) + len(data)
        return data

    def noticed(self, now: datetime) -> None:
        """Note when the first token came."""
        self.news = False
        if self.usage is not None and self._watcher is not None and self._watcher.began and not self._began:
            self._began = True
            self.usage.first_token_at = now

    def overheard(self, data: bytes, last: bool) -> None:
        """Count bytes that nobody gets: the client left. Raises sse.StreamError."""
        if self._watcher is not None:
            self._watcher.feed(data, last)

    def said(self, data: bytes, now: datetime) -> Refusal | None:
        """Take a message of the client in a session that is open; a refusal says why it must not be passed on."""
        usage, watcher, who, route = self.usage, self._watcher, self._principal, self._route
        if usage is None or who is None or route is None or not isinstance(watcher, SessionWatcher):
            return None
        usage.request_bytes = (usage.request_bytes or 0) + len(data)
        try:
            model = watcher.said(data)
        except BadRequestError as error:
            return Refusal(error.code, str(error))
        if model is None or model == usage.model:
            return None
        served = self._house.models.by_name.get(model)
        if served is None and self._house.models.listed:
            return Refusal("model_not_found", f"The model `{model}` does not exist.")
        refusal = admission.check(who.key, route.path, model, self._arrival.client_address, now)
        if refusal is None:
            usage.model = model
            usage.served_model, usage.base_model = (served.name, served.base) if served is not None else (None, None)
        return refusal

    @property
    def metered(self) -> bool:
        """Return whether there is usage to settle still."""
        return self.usage is not None and self.state is not State.SETTLED

    @property
    def finished(self) -> bool:
        """Return whether the answer said that it is complete, though its framing may not have ended."""
        return self._watcher is not None and self._watcher.finished

    def counted(self, now: datetime) -> UsageData | None:
        """Return the usage so far, to be kept in case this process dies; None when there is nothing new to say."""
        if self.usage is None or self.state is not State.STREAMING or self._watcher is None:
            return None
        count = self._watcher.count()
        if count is None:
            return None
        _write(self.usage, count.tokens)
        self.usage.accuracy = "estimated"
        self.usage.last_byte_at = now
        return self.usage

    def settle(
        self, outcome: Outcome, now: datetime, error_code: str | None = None, all_read: bool = False
    ) -> UsageData | None:
        """End it, once; return the usage to record. None for what is not metered, was denied, or is settled already.

        `outcome` is how the transfer ended; what the answer itself said may turn `completed` into `upstream_error`.
        `all_read`: vLLM knew that nobody listens any more, and all that it had sent by then was read. Of an answer that is
        neither complete nor read to such an end, the engine may have generated more than was seen: that is an estimate.
        """
        usage = self.usage
        if usage is None or self.state is State.SETTLED:
            return None
        watcher, status = self._watcher, usage.upstream_status
        if outcome == "completed" and (
            (watcher is not None and watcher.failed) or (status is not None and status >= 500)
        ):
            outcome = "upstream_error"
        usage.outcome, usage.error_code, usage.last_byte_at = outcome, error_code, now
        usage.accuracy = self._count_into(usage, all_read or outcome == "completed")
        self.state = State.SETTLED
        return usage

    def fail(self, code: str, message: str) -> Answer:
        """Return the answer for an upstream that did not answer; the lane settles with the outcome."""
        answer = errors.answer(Refusal(code, message), self.request_id, self._shape)
        if self.usage is not None:
            self.usage.status = answer.status
        return answer

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _shape(self) -> errors.Shape:
        route = self._route
        if route is None:  # refused before it was looked for
            found = table.find(self._arrival.target)
            route = found[0] if found is not None else None
        return route.errors if route is not None else "openai"

    def _asked(self, tenant: str) -> Asked:
        arrival = self._arrival
        kind = arrival.fields.get(b"content-type", b"")
        return Asked(arrival.body, self._house.salt(tenant), kind, self._parameter, arrival.fields)

    def _count_into(self, usage: UsageData, all_read: bool) -> Accuracy:
        watcher = self._watcher
        if watcher is None:
            # Not sent, or refused by vLLM: nothing was generated. Otherwise nobody knows what was.
            refused = usage.upstream_status is not None and 300 <= usage.upstream_status < 500
            unsent = usage.forwarded_at is None
            free = self._call is not None and self._call.free
            return "exact" if refused or unsent or free else "unknown"
        usage.response_id, usage.finish_reason = watcher.response_id, watcher.finish_reason
        if watcher.served_model is not None:
            usage.served_model = watcher.served_model[:_MAX_TEXT]
            usage.model = usage.model or usage.served_model  # the upstream's models were not known
        count = watcher.count()
        if count is None:
            return "unknown"
        _write(usage, count.tokens)
        return "exact" if count.final or (count.whole and (all_read or watcher.finished)) else "estimated"

    def _list_models(self, may_ask: bool) -> Step:
        """Answer in vLLM's place: its list has models that this key may not use."""
        who, models = self._principal, self._house.models
        assert who is not None
        self.state = State.ADMITTED
        if may_ask:
            return AskModels()
        if not models.listed:
            return self.fail("upstream_unreachable", "vLLM did not say which models it serves.")
        return errors.own(models.listing(who.key.models or ()), self.request_id)

    def _pass_free(self) -> Forward:
        self.state = State.ADMITTED
        return self._forward(self._arrival.body, metered=False)

    def _admit(self, call: Call, served: Served | None, now: datetime) -> Forward:
        self.state = State.ADMITTED
        record = self._record
        record.decision, record.admitted_at = "admitted", now
        self.usage = UsageData(
            producer=record.producer,
            epoch=record.epoch,
            sequence=record.sequence,
            request_id=record.request_id,
            client_request_id=record.client_request_id,
            tenant=record.tenant,
            team=record.team,
            user=record.user,
            key=record.key,
            end_user=record.end_user,
            tags=record.tags,
            instance=record.instance,
            model=record.model,
            served_model=served.name if served is not None else None,
            base_model=served.base if served is not None else None,
            endpoint=record.endpoint,
            dialect=record.dialect,
            stream=record.stream,
            outcome="proxy_lost",  # what it becomes when nothing follows
            accuracy="unknown",
            inputs=call.inputs,
            choices=call.choices,
            received_at=record.received_at,
            admitted_at=now,
            request_bytes=self._arrival.size,
            client_address=record.client_address,
            user_agent=record.user_agent,
        )
        return self._forward(call.body, metered=True)

    def _forward(self, body: bytes, metered: bool) -> Forward:
        arrival = self._arrival
        authorization = self._house.authorization
        fields = headers.to_upstream(arrival.headers, arrival.fields, self.request_id, authorization, metered)
        return Forward(arrival.method, arrival.target, fields, body)


def _text(value: bytes | None) -> str | None:
    return value.decode("utf-8", "replace")[:_MAX_TEXT] if value else None


def _write(usage: UsageData, tokens: Tokens) -> None:
    usage.input_tokens = tokens.input
    usage.cache_read_input_tokens = tokens.cached
    usage.cache_creation_input_tokens = tokens.cache_created
    usage.output_tokens = tokens.output
    usage.reasoning_output_tokens = tokens.reasoning
    usage.audio_seconds = tokens.audio_seconds
