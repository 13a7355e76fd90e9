"""What is known of one request, as it becomes known; the two records of a request are made of it."""

import re
from datetime import datetime
from typing import Final

from contracts.events import UNASSIGNED, Accuracy, Decision, Outcome, RequestData, UsageData
from contracts.projection import KeyRecord
from proxy.dialects.base import Call
from proxy.ports import Refusal
from proxy.steps import Arrival
from proxy.trust import Sender
from proxy.usage import Tokens
from proxy.watch import Watcher

MAX_TEXT: Final = 2048
_TRACE: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
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
        "request_bytes",
        "request_id",
        "response_bytes",
        "sender",
        "served_model",
        "status",
        "tags",
        "trace_id",
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
        self.request_bytes = arrival.size
        self.trace_id = trace_id(arrival) if b"traceparent" in arrival.fields else None
        self.response_bytes: int | None = None

    def denied(self, status: int, refusal: Refusal) -> RequestData:
        """Return the record of a denial."""
        record = self._request("denied", None)
        record.status, record.code, record.reason = status, refusal.code, refusal.message[:MAX_TEXT]
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
        record.code, record.reason = doubt.code, doubt.message[:MAX_TEXT]
        return record

    def _request(self, decision: Decision, admitted_at: datetime | None) -> RequestData:
        key, call, arrival, sender = self.key, self.call, self.arrival, self.sender
        return RequestData(
            producer=self.producer,
            epoch=self.epoch,
            sequence=_PENDING,
            request_id=self.request_id,
            parent_request_id=sender.parent_request_id,
            hop=sender.hop,
            trace_id=self.trace_id,
            client_request_id=text(arrival.fields.get(b"x-request-id")),
            tenant=key.tenant if key is not None else UNASSIGNED,
            team=key.team if key is not None else None,
            user=key.user if key is not None else None,
            key=key.id if key is not None else None,
            end_user=call.end_user if call is not None else None,
            tags=self.tags,
            instance=self.instance,
            model=self.model,
            endpoint=self.endpoint,
            dialect=self.dialect,
            stream=call is not None and call.stream,
            decision=decision,
            received_at=arrival.received_at,
            admitted_at=admitted_at,
            client_address=sender.client_address,
            user_agent=text(arrival.fields.get(b"user-agent")),
        )

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
        key, arrival, sender = self.key, self.arrival, self.sender
        served = self.served_model
        if watcher is not None and watcher.served_model is not None:
            served = watcher.served_model[:MAX_TEXT]
        return UsageData(
            producer=self.producer,
            epoch=self.epoch,
            sequence=_PENDING,
            request_id=self.request_id,
            parent_request_id=sender.parent_request_id,
            hop=sender.hop,
            trace_id=self.trace_id,
            client_request_id=text(arrival.fields.get(b"x-request-id")),
            tenant=key.tenant if key is not None else UNASSIGNED,
            team=key.team if key is not None else None,
            user=key.user if key is not None else None,
            key=key.id if key is not None else None,
            end_user=call.end_user,
            tags=self.tags,
            instance=self.instance,
            model=self.model or served,  # the upstream's models were not known
            served_model=served,
            base_model=self.base_model,
            response_id=watcher.response_id if watcher is not None else None,
            endpoint=self.endpoint,
            dialect=self.dialect,
            stream=call.stream,
            status=self.status,
            upstream_status=self.upstream_status,
            error_code=error_code,
            outcome=outcome,
            finish_reason=watcher.finish_reason if watcher is not None else None,
            accuracy=accuracy,
            input_tokens=tokens.input,
            cache_read_input_tokens=tokens.cached,
            cache_creation_input_tokens=tokens.cache_created,
            output_tokens=tokens.output,
            reasoning_output_tokens=tokens.reasoning,
            audio_seconds=tokens.audio_seconds,
            inputs=call.inputs,
            choices=call.choices,
            received_at=arrival.received_at,
            admitted_at=self.admitted_at,
            forwarded_at=self.forwarded_at,
            first_byte_at=self.first_byte_at,
            first_token_at=self.first_token_at,
            last_byte_at=now,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            client_address=sender.client_address,
            user_agent=text(arrival.fields.get(b"user-agent")),
        )


def trace_id(arrival: Arrival) -> str | None:
    """Return the trace that a request says it is part of (W3C Trace Context); None where its `traceparent` is not valid.

    A version that is not known yet may say more behind the four parts of version 00.
    """
    given = [value for name, value in arrival.headers if name.lower() == b"traceparent"]
    found = _TRACE.fullmatch(given[0]) if len(given) == 1 else None
    if found is None or (found[1] == b"00" and found[3] is not None):
        return None
    return found[2].decode()


def text(value: bytes | None) -> str | None:
    """Return a header's value as text of bounded length; None for none, or an empty one."""
    return value.decode("utf-8", "replace")[:MAX_TEXT] if value else None
