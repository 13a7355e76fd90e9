"""The events: CloudEvents 1.0 in JSON, one struct for each topic's `data`.

Field names follow OpenTelemetry's GenAI conventions. A field that was not reported is left out and reads as None, never
as zero (promise P6). Decoding validates: negative or absurd counts raise `msgspec.ValidationError`. A consumer takes one
event or a batch of them in one Kafka record (`split`).
"""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

Count = Annotated[int, Meta(ge=0, le=10**12)]
Name = Annotated[str, Meta(min_length=1, max_length=512)]
Text = Annotated[str, Meta(max_length=2048)]
Sequence = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Moment = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[float, Meta(ge=0)]

Outcome = Literal["completed", "client_closed", "upstream_error", "upstream_timeout", "proxy_lost"]
Accuracy = Literal["exact", "estimated", "unknown"]
Decision = Literal["admitted", "denied", "would_deny"]
Hop = Literal["root", "prefill", "decode", "retry"]

UNASSIGNED = "unassigned"
"""The tenant of a request that showed no key, or none that is known."""


class Produced(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Who wrote an event: sequences count up by one from 1 within an epoch, across all topics."""

    producer: Name
    epoch: Name
    sequence: Sequence


class Request(Produced, kw_only=True, omit_defaults=True):
    """Which request an event is about. Times are aware UTC; sizes are bytes."""

    request_id: Name
    parent_request_id: Name | None = None
    hop: Hop = "root"
    trace_id: Name | None = None
    client_request_id: Text | None = None
    tenant: Name
    team: Name | None = None
    user: Name | None = None
    key: Name | None = None
    end_user: Text | None = None
    tags: dict[str, str] = {}
    instance: Name
    model: Text | None = None
    endpoint: Text
    dialect: Name | None = None
    stream: bool = False
    received_at: Moment
    admitted_at: Moment | None = None
    client_address: Text | None = None
    user_agent: Text | None = None


class RequestData(Request, kw_only=True, omit_defaults=True):
    """`weighbridge.request.v1`: what was decided about a request, also when it was denied."""

    decision: Decision
    status: int | None = None
    code: Name | None = None
    reason: Text | None = None
    limit: Name | None = None
    queue_seconds: Seconds | None = None
    reserved_tokens: Count | None = None


class UsageData(Request, kw_only=True, omit_defaults=True):
    """`weighbridge.usage.v1`: what an admitted request used. One for each, whatever became of it.

    `input_tokens` includes cached and cache-written tokens, `output_tokens` includes reasoning tokens.
    """

    served_model: Text | None = None
    base_model: Text | None = None
    response_id: Text | None = None
    status: int | None = None
    upstream_status: int | None = None
    error_code: Name | None = None
    outcome: Outcome
    finish_reason: Text | None = None
    accuracy: Accuracy
    input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    output_tokens: Count | None = None
    reasoning_output_tokens: Count | None = None
    audio_seconds: Seconds | None = None
    inputs: Count | None = None
    choices: Count | None = None
    forwarded_at: Moment | None = None
    first_byte_at: Moment | None = None
    first_token_at: Moment | None = None
    last_byte_at: Moment | None = None
    request_bytes: Count | None = None
    response_bytes: Count | None = None


class InstanceData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`weighbridge.instance.v1`: a sample of one engine, as its proxy sees it. Telemetry: not sequenced, may be lost."""

    producer: Name
    instance: Name
    model: Text | None = None
    sampled_at: Moment
    healthy: bool
    in_flight: Count
    queued: Count
    running: Count | None = None
    waiting: Count | None = None
    kv_cache_usage: Annotated[float, Meta(ge=0, le=1)] | None = None
    prompt_tokens_total: Count | None = None
    generation_tokens_total: Count | None = None
    engine_started_at: Moment | None = None


class AckData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`weighbridge.ack.v1`: the ledger holds every event of the epoch up to and including `contiguous`."""

    producer: Name
    epoch: Name
    contiguous: Count


class QuotaData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`weighbridge.quota.v1`: what the ledger holds for a tenant's window; a higher generation replaces a lower one."""

    tenant: Name
    window: Literal["day", "month"]
    window_start: Moment
    generation: Count
    requests: Count
    input_tokens: Count
    output_tokens: Count


class AlertData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`weighbridge.alert.v1`: what the ledger holds of a limit's day or month has reached a percentage of it; once a period."""

    alert: Literal["limit_reached"]
    tenant: Name
    limit: Text
    subject_kind: Literal["tenant", "team", "user", "key"]
    subject_id: Name
    model: Text | None = None
    meter: Name
    window: Name
    window_start: Moment
    window_end: Moment
    percent: Count
    amount: Count
    used: Count


class ScalingData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`weighbridge.scaling.v1`: load of one model over all its instances that reported within the horizon."""

    model: Text
    as_of: Moment
    instances: Count
    in_flight: Count
    waiting: Count
    kv_cache_usage: float | None = None


class DeadLetterData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`weighbridge.deadletter.v1`: bytes that no rule could read, where they stood, and why."""

    topic: Name
    partition: Count
    offset: Count
    reason: Name
    detail: Text
    payload: bytes


T = TypeVar("T")


class Event(msgspec.Struct, Generic[T], kw_only=True, omit_defaults=True):
    """The CloudEvents envelope. `source` and `id` together are unique for ever; `subject` is the tenant."""

    specversion: Literal["1.0"]
    id: Name
    source: Name
    type: Name
    subject: Name
    time: Moment
    datacontenttype: str | UnsetType = UNSET
    dataschema: Text | UnsetType = UNSET
    partitionkey: Name | UnsetType = UNSET
    data: T


CONTENT_TYPE = "application/cloudevents+json"
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"

_encoder = msgspec.json.Encoder()
_batch = msgspec.json.Decoder(list[msgspec.Raw])


def encode(event: Event[T]) -> bytes:
    """Return the event as one JSON object."""
    return _encoder.encode(event)


def encode_data(part: msgspec.Struct | datetime | str) -> bytes:
    """Return a part of an event as JSON: its `data`, a time or a name."""
    return _encoder.encode(part)


def join(events: list[bytes]) -> bytes:
    """Return encoded events as one record in CloudEvents' batch format."""
    return b"[" + b",".join(events) + b"]"


def split(record: bytes) -> list[bytes]:
    """Return the encoded events of one Kafka record, single or batched.

    Raises msgspec.DecodeError when a batch is not a JSON array; a single event is not looked into.
    """
    if record.lstrip()[:1] != b"[":
        return [record]
    return [bytes(raw) for raw in _batch.decode(record)]
