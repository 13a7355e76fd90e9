"""What is known of one request, as it becomes known; the two records of a request are made of it."""

from datetime import datetime
from typing import Final

from contracts.events import UNASSIGNED, Accuracy, Decision, Outcome, RequestData, UsageData
from contracts.projection import KeyRecord
from proxy.dialects.base import Call
from proxy.ports import Refusal
from proxy.request_head import MAX_TEXT
from proxy.steps import Arrival
from proxy.tokens import Tokens
from proxy.trust import Sender
from proxy.watch import Watcher

_PENDING: Final = 1
"""A sequence: the recorder gives the real one when a record becomes final."""


class Facts:
    """One request's. Times are aware UTC, sizes bytes; what is not known yet is None."""

    __slots__ = (
        "admitted_at",
        "arrival",
        "base_model",
        "call",
        "dialect",
        "endpoint",
        "epoch",
        "first_byte_at",
        "first_token_at",
        "forwarded_at",
        "instance",
        "key",
        "model",
        "producer",
        "queue_seconds",
        "request_bytes",
        "request_id",
        "response_bytes",
        "sender",
        "served_model",
        "status",
        "tags",
        "upstream_status",
    )

    def __init__(
        self, producer: str, epoch: str, instance: str, request_id: str, arrival: Arrival, sender: Sender
    ) -> None:
        self.producer = producer
        self.epoch = epoch
        self.instance = instance
        self.request_id = request_id
        self.arrival = arrival
        self.sender = sender
        self.endpoint = ""
        self.key: KeyRecord | None = None
        """None: it showed none that is known."""
        self.tags: dict[str, str] = {}
        self.call: Call | None = None
        self.dialect: str | None = None
        self.model: str | None = None
        self.served_model: str | None = None
        self.base_model: str | None = None
        self.admitted_at: datetime | None = None
        self.forwarded_at: datetime | None = None
        self.first_byte_at: datetime | None = None
        self.first_token_at: datetime | None = None
        self.status: int | None = None
        self.upstream_status: int | None = None
        self.queue_seconds: float | None = None
        """None: it did not come as far as the queue."""
        self.request_bytes = arrival.size
        self.response_bytes: int | None = None

    def denied(self, status: int, refusal: Refusal) -> RequestData:
        """Return the record of a denial."""
        record = self._request("denied", None)
        record.status, record.code, record.reason = status, refusal.code, refusal.message[:MAX_TEXT]
        record.limit = refusal.limit
        return record

    def admitted(self, doubt: Refusal | None) -> RequestData:
        """Return the record of an admission; `doubt` is why it would have been denied if rules were enforced."""
        if doubt is None:
            return self._request("admitted", self.admitted_at)
        return self._doubted(doubt, self.admitted_at)

    def let_through(self, doubt: Refusal) -> RequestData:
        """Return the record of a request that is not metered and would have been denied: no usage follows."""
        return self._doubted(doubt, None)

    def _doubted(self, doubt: Refusal, admitted_at: datetime | None) -> RequestData:
        record = self._request("would_deny", admitted_at)
        record.code, record.reason, record.limit = doubt.code, doubt.message[:MAX_TEXT], doubt.limit
        return record

    def _request(self, decision: Decision, admitted_at: datetime | None) -> RequestData:
        key, call, head, sender = self.key, self.call, self.arrival.head, self.sender
        record = RequestData(
            producer=self.producer,
            epoch=self.epoch,
            sequence=_PENDING,
            request_id=self.request_id,
            tenant=key.tenant if key is not None else UNASSIGNED,
            key=(key.id or None) if key is not None else None,
            tags=self.tags,
            instance=self.instance,
            model=self.model,
            endpoint=self.endpoint,
            dialect=self.dialect,
            stream=call is not None and call.stream,
            decision=decision,
            received_at=self.arrival.received_at,
            queue_seconds=self.queue_seconds,
            admitted_at=admitted_at,
            client_address=sender.client_address,
            user_agent=head.user_agent,
        )
        self._add_rare(record, key)
        if call is not None and call.end_user is not None:
            record.end_user = call.end_user
        return record

    def _add_rare(self, record: RequestData | UsageData, key: KeyRecord | None) -> None:
        """Set what most requests lack: a struct takes the longer to make, the more it is given."""
        head, sender = self.arrival.head, self.sender
        if sender.trusted:
            record.parent_request_id, record.hop = sender.parent_request_id, sender.hop
        if head.trace_id is not None:
            record.trace_id = head.trace_id
        if head.client_request_id is not None:
            record.client_request_id = head.client_request_id
        if key is not None:
            if key.team is not None:
                record.team = key.team
            if key.user is not None:
                record.user = key.user

    def usage(
        self,
        call: Call,
        watcher: Watcher | None,
        tokens: Tokens,
        outcome: Outcome,
        accuracy: Accuracy,
        error_code: str | None,
        now: datetime,
    ) -> UsageData:
        """Return the record of what the request used, as far as its answer's `watcher` saw, with the counts in `tokens`."""
        key = self.key
        served = self.served_model
        if watcher is not None and watcher.served_model is not None:
            served = watcher.served_model[:MAX_TEXT]
        record = UsageData(
            producer=self.producer,
            epoch=self.epoch,
            sequence=_PENDING,
            request_id=self.request_id,
            tenant=key.tenant if key is not None else UNASSIGNED,
            key=(key.id or None) if key is not None else None,
            tags=self.tags,
            instance=self.instance,
            model=self.model or served,  # the upstream's models were not known
            served_model=served,
            base_model=self.base_model,
            endpoint=self.endpoint,
            dialect=self.dialect,
            stream=call.stream,
            status=self.status,
            upstream_status=self.upstream_status,
            outcome=outcome,
            accuracy=accuracy,
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            inputs=call.inputs,
            choices=call.choices,
            received_at=self.arrival.received_at,
            admitted_at=self.admitted_at,
            forwarded_at=self.forwarded_at,
            first_byte_at=self.first_byte_at,
            first_token_at=self.first_token_at,
            last_byte_at=now,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            client_address=self.sender.client_address,
            user_agent=self.arrival.head.user_agent,
        )
        self._add_rare(record, key)
        if call.end_user is not None:
            record.end_user = call.end_user
        if watcher is not None:
            record.response_id, record.finish_reason = watcher.response_id, watcher.finish_reason
        if error_code is not None:
            record.error_code = error_code
        if tokens.cached is not None:
            record.cache_read_input_tokens = tokens.cached
        if tokens.cache_created is not None:
            record.cache_creation_input_tokens = tokens.cache_created
        if tokens.reasoning is not None:
            record.reasoning_output_tokens = tokens.reasoning
        if tokens.audio_seconds is not None:
            record.audio_seconds = tokens.audio_seconds
        return record
