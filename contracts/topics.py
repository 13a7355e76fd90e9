"""Kafka topics: their names, what each carries, and the schema each event names.

A topic's name is the event type in it. The producer picks the partition by hashing the tenant with murmur2, as Kafka's own
default partitioner would for a record keyed by the tenant, so that any producer's events of one tenant stand together.
"""

from typing import Any, Final

import msgspec

from contracts import events
from contracts.prompts import PromptData

REQUEST: Final = "weighbridge.request.v1"
USAGE: Final = "weighbridge.usage.v1"
INSTANCE: Final = "weighbridge.instance.v1"
ACK: Final = "weighbridge.ack.v1"
QUOTA: Final = "weighbridge.quota.v1"
ALERT: Final = "weighbridge.alert.v1"
SCALING: Final = "weighbridge.scaling.v1"
DEADLETTER: Final = "weighbridge.deadletter.v1"
PROMPT: Final = "weighbridge.prompt.v1"

DATA: Final[dict[str, type[msgspec.Struct]]] = {
    REQUEST: events.RequestData,
    USAGE: events.UsageData,
    INSTANCE: events.InstanceData,
    ACK: events.AckData,
    QUOTA: events.QuotaData,
    ALERT: events.AlertData,
    SCALING: events.ScalingData,
    DEADLETTER: events.DeadLetterData,
    PROMPT: PromptData,
}
"""What `data` is, by topic."""


def schema_id(topic: str) -> str:
    """Return the `dataschema` of a topic's events; `docs/schemas/` holds the schema under the topic's name."""
    return f"urn:weighbridge:schema:{topic}"


def event_type(topic: str) -> Any:
    """Return the full event type of a topic, for a decoder: `Event[UsageData]` and so on."""
    generic: Any = events.Event
    return generic[DATA[topic]]
