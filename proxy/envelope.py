"""Events of this proxy: the CloudEvents envelope around what the traffic side reports."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from contracts import events, topics
from contracts.events import Event, RequestData, UsageData
from proxy.spool.record import Kind

TOPIC: Final[dict[int, str]] = {
    Kind.REQUEST: topics.REQUEST,
    Kind.ADMITTED: topics.REQUEST,
    Kind.USAGE: topics.USAGE,
}


def source(instance: str) -> str:
    """Return the `source` of a proxy's events, which is also its name as a producer."""
    return f"weighbridge/{instance}"


def request_event(producer: str, data: RequestData, now: datetime) -> bytes:
    """Return the encoded event of a decision."""
    start, middle, end = _request_form(producer, data.tenant)
    parts = (start, data.request_id.encode(), middle, events.encode_data(now), end, events.encode_data(data), b"}")
    return b"".join(parts)


def usage_event(producer: str, data: UsageData, now: datetime) -> bytes:
    """Return the encoded event of what a request used."""
    start, middle, end = _usage_form(producer, data.tenant)
    parts = (start, data.request_id.encode(), middle, events.encode_data(now), end, events.encode_data(data), b"}")
    return b"".join(parts)


@lru_cache(4096)
def _request_form(producer: str, tenant: str) -> tuple[bytes, bytes, bytes]:
    return _form(topics.REQUEST, "request", producer, tenant)


@lru_cache(4096)
def _usage_form(producer: str, tenant: str) -> tuple[bytes, bytes, bytes]:
    return _form(topics.USAGE, "usage", producer, tenant)


def _form(topic: str, kind: str, producer: str, tenant: str) -> tuple[bytes, bytes, bytes]:
    """Return the envelope as msgspec writes `Event`, cut where the request's id, the time and the data stand."""
    event = Event(
        specversion="1.0",
        id=f"{_PLACE}.{kind}",
        source=producer,
        type=topic,
        subject=tenant,
        time=_NO_TIME,
        datacontenttype="application/json",
        dataschema=topics.schema_id(topic),
        partitionkey=tenant,
        data=msgspec.Raw(b""),
    )
    start, _, rest = events.encode(event).partition(_PLACE.encode())  # the id comes first: no name can be taken for it
    middle, _, end = rest.partition(events.encode_data(_NO_TIME))
    return start, middle, end.removesuffix(b"}")


_NO_TIME: Final = datetime(1, 1, 1, tzinfo=UTC)
_PLACE: Final = "?"
