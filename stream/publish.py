"""What the stream tells the others through Kafka: acknowledgements, dead letters, quota figures, alerts, scaling signals.

All of it may arrive twice: each message says how things are, not how they changed.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer

from contracts import events, ids, topics
from contracts.events import AckData, AlertData, DeadLetterData, Event, QuotaData, ScalingData
from stream.decode import Dead
from stream.rows import hash64

SOURCE: Final = "//weighbridge/stream"
PAYLOAD_KEPT: Final = 256 * 1024
"""Bytes of a dead letter that its message carries, below any broker's limit of a record; the table has them all."""
_DETAIL_KEPT: Final = 2000


class Message(NamedTuple):
    """A record to publish: its topic, its key, and the encoded event."""

    topic: str
    key: bytes
    value: bytes


class Publisher:
    """A started aiokafka producer. Raises KafkaError when the broker is away."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def publish(self, messages: Iterable[Message]) -> None:
        """Return when the broker has all messages."""
        sent = [await self._producer.send(message.topic, message.value, key=message.key) for message in messages]
        await asyncio.gather(*sent)


def ack(data: AckData, now: datetime) -> Message:
    """Return an acknowledgement to a producer."""
    return _message(topics.ACK, data.producer, data, now)


def quota(data: QuotaData, now: datetime) -> Message:
    """Return a tenant's figures."""
    return _message(topics.QUOTA, data.tenant, data, now)


def alert(data: AlertData, event_id: str, now: datetime) -> Message:
    """Return an alert."""
    return _message(topics.ALERT, data.tenant, data, now, event_id=event_id)


def scaling(data: ScalingData, now: datetime) -> Message:
    """Return a model's load."""
    return _message(topics.SCALING, data.model[:512] or events.UNASSIGNED, data, now)


def dead_letter(dead: Dead, now: datetime) -> Message:
    """Return a dead letter. Its id is the same each time the same record is read."""
    record = dead.record
    payload, detail = dead.payload, dead.detail[:_DETAIL_KEPT]
    if len(payload) > PAYLOAD_KEPT:
        payload, detail = payload[:PAYLOAD_KEPT], f"(the first {PAYLOAD_KEPT} of {len(payload)} bytes) {detail}"[:2048]
    data = DeadLetterData(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=dead.reason,
        detail=detail,
        payload=payload,
    )
    place = f"{record.topic}/{record.partition}/{record.offset}"
    event_id = f"{place}/{hash64(dead.payload):016x}"
    return _message(topics.DEADLETTER, events.UNASSIGNED, data, now, event_id=event_id, key=place)


def _message(
    topic: str,
    subject: str,
    data: msgspec.Struct,
    now: datetime,
    *,
    event_id: str | None = None,
    key: str | None = None,
) -> Message:
    event: Event[Any] = Event(
        specversion="1.0",
        id=event_id or ids.new_id("evt", int(now.timestamp() * 1000)),
        source=SOURCE,
        type=topic,
        subject=subject,
        time=now,
        datacontenttype="application/json",
        dataschema=topics.schema_id(topic),
        data=data,
    )
    return Message(topic, (key or subject).encode(), events.encode(event))
