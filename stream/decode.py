"""Kafka records in, events and dead letters out. Pure: bytes and `now` decide everything.

A record holds one event or a batch of them. Each event is taken or refused on its own, so that one bad event of a batch
costs nobody else theirs. Nothing is repaired and nothing is read as zero: what breaks a rule becomes a dead letter with its
reason and its bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from contracts import events, topics
from contracts.events import Event, InstanceData, Produced, Request, RequestData, UsageData

Reason = Literal["empty", "broken_json", "unknown_version", "wrong_type", "invalid", "future_time", "too_old"]

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DECODERS: Final[dict[str, Any]] = {
    topic: msgspec.json.Decoder(topics.event_type(topic)) for topic in (topics.USAGE, topics.REQUEST, topics.INSTANCE)
}


@dataclass(frozen=True)
class Policy:
    """Which times are believed: `horizon` back, and `ahead` of the stream's clock."""

    horizon: timedelta = timedelta(days=35)
    ahead: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record and where it stood. `value` is None for a tombstone."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Dead:
    """An event that no rule could read. `produced` is known when at least its sequence could be: it is then accounted for."""

    record: Record
    reason: Reason
    detail: str
    payload: bytes
    produced: Produced | None = None


class Refused(Exception):  # noqa: N818  # it names what happened to an event, not a fault of ours
    """An event breaks a rule."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


class _Head(msgspec.Struct):
    """As much of an envelope as says which version and type it is."""

    specversion: Any = None
    type: Any = None


class _Origin(msgspec.Struct):
    data: Produced


_head = msgspec.json.Decoder(_Head)
_origin = msgspec.json.Decoder(_Origin)


def decode(record: Record, now: datetime, policy: Policy) -> Iterator[Event[Any] | Dead]:
    """Yield each event of a record, or a dead letter in its place.

    Args:
        record: from one of the topics that the stream reads; `data` is decoded as its topic says.
        now: the stream's time, aware.
        policy: which times are believed.
    """
    if record.value is None:
        yield Dead(record, "empty", "the record has no value", b"")
        return
    try:
        parts = events.split(record.value)
    except _UNREADABLE as error:
        yield Dead(record, "broken_json", str(error), record.value)
        return
    for part in parts:
        try:
            yield _event(part, record.topic, now, policy)
        except Refused as refusal:
            yield Dead(record, refusal.reason, str(refusal), part, _produced(part))


def event_time(data: Request) -> datetime:
    """Return the time that decides which window an event belongs to: a request that was refused has only its arrival."""
    return data.admitted_at if data.admitted_at is not None else data.received_at


def _event(part: bytes, topic: str, now: datetime, policy: Policy) -> Event[Any]:
    try:
        event: Event[Any] = _DECODERS[topic].decode(part)
    except msgspec.ValidationError as error:
        raise _version(part, topic) or Refused("invalid", str(error)) from None
    except _UNREADABLE as error:
        raise Refused("broken_json", str(error)) from None
    if event.type != topic:
        raise _other_type(event.type, topic)
    data = event.data
    if isinstance(data, InstanceData):
        _check_sample(data, now, policy)
    else:
        _check_request(event, data, now, policy)
    return event


def _check_request(event: Event[Any], data: Request, now: datetime, policy: Policy) -> None:
    if event.subject != data.tenant:
        raise Refused("invalid", f"subject {event.subject!r} is not the tenant {data.tenant!r}")
    times: list[datetime | None] = [data.received_at, data.admitted_at]
    if isinstance(data, UsageData):
        if data.admitted_at is None:
            raise Refused("invalid", "a usage event has no admitted_at")
        times += data.forwarded_at, data.first_byte_at, data.first_token_at, data.last_byte_at
        _check_status(data.upstream_status)
    if isinstance(data, UsageData | RequestData):
        _check_status(data.status)
    _check_time(event.time, _EARLIEST, now + policy.ahead)
    earliest, latest = now - policy.horizon, now + policy.ahead
    for moment in times:
        if moment is not None:
            _check_time(moment, earliest, latest)


def _check_sample(data: InstanceData, now: datetime, policy: Policy) -> None:
    _check_time(data.sampled_at, now - policy.horizon, now + policy.ahead)
    if data.engine_started_at is not None:
        _check_time(data.engine_started_at, _EARLIEST, now + policy.ahead)


def _check_time(moment: datetime, earliest: datetime, latest: datetime) -> None:
    if moment.tzinfo is None:
        raise Refused("invalid", f"{moment.isoformat()} has no time zone")
    if moment > latest:
        raise Refused("future_time", f"{moment.isoformat()} is ahead of {latest.isoformat()}")
    if moment < earliest:
        raise Refused("too_old", f"{moment.isoformat()} is before {earliest.isoformat()}")


def _check_status(status: int | None) -> None:
    if status is not None and not 0 <= status <= 999:
        raise Refused("invalid", f"{status} is no HTTP status")


def _version(part: bytes, topic: str) -> Refused | None:
    """Return why an event that did not fit is of another version or type, or None when that is not the reason."""
    try:
        head = _head.decode(part)
    except msgspec.ValidationError:
        return None  # no JSON object
    except _UNREADABLE as error:
        return Refused("broken_json", str(error))
    if head.specversion != "1.0":
        return Refused("unknown_version", f"specversion is {head.specversion!r}")
    if isinstance(head.type, str) and head.type != topic:
        return _other_type(head.type, topic)
    return None


def _other_type(found: str, topic: str) -> Refused:
    kind = topic.rpartition(".v")[0]
    if found.rpartition(".v")[0] == kind:
        return Refused("unknown_version", f"{found} stands in {topic}")
    return Refused("wrong_type", f"{found} stands in {topic}")


def _produced(part: bytes) -> Produced | None:
    try:
        return _origin.decode(part).data
    except _UNREADABLE:
        return None
