"""Valid events for tests of anything that reads or stores them: `tests.stream.factory`.

Every field can be overridden by name; sequences count up within a `Producer`.
"""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from contracts import topics
from contracts.events import Event, InstanceData, RequestData, UsageData, encode, join
from stream.decode import Record

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Producer:
    """A proxy's epoch: makes events with ascending sequences and ids that no other epoch has."""

    def __init__(self, name: str = "proxy-1", epoch: str = "epoch-1") -> None:
        self.name, self.epoch = name, epoch
        self._sequences = count(1)

    def usage(self, tenant: str = "ten_a", at: datetime = NOON, **fields: Any) -> Event[UsageData]:
        """Return a usage event of a request admitted at `at`: 10 input and 5 output tokens unless given."""
        values = {
            **self._identity(tenant, at, fields),
            "admitted_at": at,
            "served_model": "llama-3.1-8b",
            "status": 200,
            "upstream_status": 200,
            "outcome": "completed",
            "finish_reason": "stop",
            "accuracy": "exact",
            "input_tokens": 10,
            "output_tokens": 5,
            "forwarded_at": at + timedelta(milliseconds=1),
            "first_byte_at": at + timedelta(milliseconds=20),
            "first_token_at": at + timedelta(milliseconds=30),
            "last_byte_at": at + timedelta(milliseconds=200),
            "request_bytes": 300,
            "response_bytes": 900,
        }
        return _event(topics.USAGE, UsageData(**{**values, **fields}), at)

    def request(self, tenant: str = "ten_a", at: datetime = NOON, **fields: Any) -> Event[RequestData]:
        """Return a request event: admitted at `at` unless given."""
        values = {**self._identity(tenant, at, fields), "admitted_at": at, "decision": "admitted"}
        return _event(topics.REQUEST, RequestData(**{**values, **fields}), at)

    def _identity(self, tenant: str, at: datetime, fields: dict[str, Any]) -> dict[str, Any]:
        sequence = fields.get("sequence") or next(self._sequences)
        return {
            "producer": self.name,
            "epoch": self.epoch,
            "sequence": sequence,
            "request_id": f"req-{self.epoch}-{sequence}",
            "tenant": tenant,
            "team": "team_1",
            "user": "user_1",
            "key": "key_1",
            "instance": "gpu-1",
            "model": "llama",
            "endpoint": "/v1/chat/completions",
            "dialect": "chat",
            "received_at": at,
        }


def sample(
    instance: str = "gpu-1", at: datetime = NOON, producer: str = "proxy-1", **fields: Any
) -> Event[InstanceData]:
    """Return a sample of an instance: healthy and idle unless given."""
    values = {"model": "llama", "sampled_at": at, "healthy": True, "in_flight": 0, "queued": 0}
    data = InstanceData(producer=producer, instance=instance, **{**values, **fields})
    return Event(
        specversion="1.0",
        id=f"{instance}-{at.timestamp()}",
        source=f"//weighbridge/{producer}",
        type=topics.INSTANCE,
        subject=instance,
        time=at,
        data=data,
    )


def record(*events: Event[Any], partition: int = 0, offset: int = 0, batched: bool = True) -> Record:
    """Return events of one topic as the Kafka record that holds them."""
    payloads = [encode(event) for event in events]
    value = join(payloads) if batched else payloads[0]
    return Record(events[0].type, partition, offset, value)


def _event(topic: str, data: Any, at: datetime) -> Event[Any]:
    kind = topic.split(".")[1]
    return Event(
        specversion="1.0",
        id=f"{kind}-{data.request_id}",
        source=f"//weighbridge/{data.producer}",
        type=topic,
        subject=data.tenant,
        time=at,
        datacontenttype="application/json",
        dataschema=topics.schema_id(topic),
        partitionkey=data.tenant,
        data=data,
    )
