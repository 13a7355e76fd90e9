"""Events of this proxy: the CloudEvents envelope around what the traffic side reports."""

from datetime import UTC, datetime
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
_KEPT: Final = 4096
_encode: Final = msgspec.json.Encoder().encode

Form = tuple[bytes, bytes, bytes]
"""An envelope as msgspec writes `Event`, cut where the request's id, the time and the data stand."""


def source(instance: str) -> str:
    """Return the `source` of a proxy's events, which is also its name as a producer."""
    return f"weighbridge/{instance}"


class Envelopes:
    """Writes the events of one producer. What is the same for a tenant's events is kept."""

    __slots__ = ("_producer", "_request_forms", "_usage_forms")

    def __init__(self, producer: str) -> None:
        self._producer = producer
        self._request_forms: dict[str, Form] = {}
        self._usage_forms: dict[str, Form] = {}

    def request(self, data: RequestData, now: datetime) -> bytes:
        """Return the encoded event of a decision."""
        tenant = data.tenant
        form = self._request_forms.get(tenant)
        if form is None:
            form = _keep(self._request_forms, tenant, _form(topics.REQUEST, "request", self._producer, tenant))
        start, middle, end = form
        return b"".join((start, data.request_id.encode(), middle, _encode(now), end, _encode(data), b"}"))

    def usage(self, data: UsageData, now: datetime) -> bytes:
        """Return the encoded event of what a request used."""
        tenant = data.tenant
        form = self._usage_forms.get(tenant)
        if form is None:
            form = _keep(self._usage_forms, tenant, _form(topics.USAGE, "usage", self._producer, tenant))
        start, middle, end = form
        return b"".join((start, data.request_id.encode(), middle, _encode(now), end, _encode(data), b"}"))


def _keep(forms: dict[str, Form], tenant: str, form: Form) -> Form:
    if len(forms) >= _KEPT:
        forms.clear()
    forms[tenant] = form
    return form


def _form(topic: str, kind: str, producer: str, tenant: str) -> Form:
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
    middle, _, end = rest.partition(_encode(_NO_TIME))
    return start, middle, end.removesuffix(b"}")


_NO_TIME: Final = datetime(1, 1, 1, tzinfo=UTC)
_PLACE: Final = "?"
