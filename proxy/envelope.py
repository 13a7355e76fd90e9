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
    return _wrap(_REQUEST, producer, data.request_id, data.tenant, now, events.encode_data(data))


def usage_event(producer: str, data: UsageData, now: datetime) -> bytes:
    """Return the encoded event of what a request used."""
    return _wrap(_USAGE, producer, data.request_id, data.tenant, now, events.encode_data(data))


def _form(topic: str, kind: str) -> bytes:
    """Return a form of the envelope, with places for what differs: `Event` as msgspec writes it."""
    event = Event(
        specversion="1.0",
        id=f"%b.{kind}",
        source="%b",
        type=topic,
        subject="%b",
        time=_NO_TIME,
        datacontenttype="application/json",
        dataschema=topics.schema_id(topic),
        partitionkey="%b",
        data=msgspec.Raw(b"%b"),
    )
    form = events.encode(event)
    for quoted in (b'"%b"', events.encode_data(_NO_TIME)):  # these places get JSON, quotes and all
        form = form.replace(quoted, b"%b")
    return form


_NO_TIME: Final = datetime(1, 1, 1, tzinfo=UTC)
_REQUEST: Final = _form(topics.REQUEST, "request")
_USAGE: Final = _form(topics.USAGE, "usage")


def _wrap(form: bytes, producer: str, request_id: str, tenant: str, now: datetime, data: bytes) -> bytes:
    named = _quoted(tenant)
    return form % (request_id.encode(), _quoted(producer), named, events.encode_data(now), named, data)


@lru_cache(4096)
def _quoted(name: str) -> bytes:
    return events.encode_data(name)
