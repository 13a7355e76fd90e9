"""Events of this proxy: the CloudEvents envelope around what the traffic side reports, and the end of a lost request."""

from datetime import datetime
from typing import Final

import msgspec

from contracts import events, topics
from contracts.events import Accuracy, Event, Outcome, RequestData, UsageData
from proxy.spool.record import Kind, Record
from proxy.spool.spool import Header

TOPIC: Final[dict[int, str]] = {
    Kind.REQUEST: topics.REQUEST,
    Kind.ADMITTED: topics.REQUEST,
    Kind.USAGE: topics.USAGE,
}
COUNTS: Final = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
    "audio_seconds",
)


class _Draft(UsageData, kw_only=True):
    """What an event says of a request that still runs: a draft of its usage, or only that it was admitted."""

    outcome: Outcome = "proxy_lost"
    accuracy: Accuracy = "unknown"


_draft = msgspec.json.Decoder(Event[_Draft])


def source(instance: str) -> str:
    """Return the `source` of a proxy's events, which is also its name as a producer."""
    return f"weighbridge/{instance}"


def request_event(producer: str, data: RequestData, now: datetime) -> bytes:
    """Return the encoded event of a decision."""
    return _encode(producer, topics.REQUEST, "request", data, now)


def usage_event(producer: str, data: UsageData, now: datetime) -> bytes:
    """Return the encoded event of what a request used."""
    return _encode(producer, topics.USAGE, "usage", data, now)


def lost_event(header: Header, draft: Record, sequence: int, now: datetime) -> bytes:
    """Return the usage event of a request whose proxy died: the last counts known, under the same id and `admitted_at`.

    The draft's body is an event: the request's own, when it was admitted and nothing was counted, or its usage so far.

    Raises msgspec.ValidationError when the draft is none of this version's.
    """
    last = _draft.decode(draft.body).data
    data = UsageData(**{field: getattr(last, field) for field in UsageData.__struct_fields__})
    data.sequence = sequence
    data.outcome = "proxy_lost"
    data.accuracy = "estimated" if any(getattr(data, count) is not None for count in COUNTS) else "unknown"
    return usage_event(header.producer, data, now)


def _encode(producer: str, topic: str, kind: str, data: RequestData | UsageData, now: datetime) -> bytes:
    return events.encode(
        Event(
            specversion="1.0",
            id=f"{data.request_id}.{kind}",
            source=producer,
            type=topic,
            subject=data.tenant,
            time=now,
            datacontenttype="application/json",
            dataschema=_SCHEMA[topic],
            partitionkey=data.tenant,
            data=data,
        )
    )


_SCHEMA: Final = {topic: topics.schema_id(topic) for topic in TOPIC.values()}
