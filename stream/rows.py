"""Events as rows of the raw tables, in ClickHouse's JSONEachRow format. Pure.

A row is the event's `data` as JSON, which ends in the columns that the envelope and the ledger add. The data's own bytes are
its identity too: `content_hash` tells two deliveries of one event (equal) from two events under one id (a conflict).
"""

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from contracts.events import Event, InstanceData
from stream.decode import Dead, event_time


class _Added(msgspec.Struct):
    id: str
    source: str
    event_time: datetime
    ingested_at: datetime
    stored_at: datetime
    content_hash: int


class _AddedSample(msgspec.Struct):
    id: str
    source: str
    ingested_at: datetime


class _DeadRow(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    digest: int
    reason: str
    detail: str
    payload: str
    stored_at: datetime


_encode = msgspec.json.Encoder().encode


def hash64(content: bytes) -> int:
    """Return 64 bits of BLAKE2b: the same on every machine and in every version."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")


def request_rows(batch: Iterable[Event[Any]], ingested_at: datetime, stored_at: datetime) -> bytes:
    """Return usage or request events as rows, each delivered twice within the batch once."""
    rows: dict[tuple[str, str, int], bytes] = {}
    for event in batch:
        body = _encode(event.data)
        content_hash = hash64(body)
        key = (event.source, event.id, content_hash)
        if key not in rows:
            added = _Added(event.id, event.source, event_time(event.data), ingested_at, stored_at, content_hash)
            rows[key] = _joined(body, _encode(added))
    return b"\n".join(rows.values())


def sample_rows(batch: Iterable[Event[InstanceData]], ingested_at: datetime) -> bytes:
    """Return samples of instances as rows."""
    return b"\n".join(
        _joined(_encode(event.data), _encode(_AddedSample(event.id, event.source, ingested_at))) for event in batch
    )


def dead_rows(batch: Iterable[Dead], stored_at: datetime) -> bytes:
    """Return dead letters as rows. Bytes that are no UTF-8 are escaped as Python does (`backslashreplace`)."""
    return b"\n".join(
        _encode(
            _DeadRow(
                dead.record.topic,
                dead.record.partition,
                dead.record.offset,
                hash64(dead.payload),
                dead.reason,
                dead.detail,
                dead.payload.decode(errors="backslashreplace"),
                stored_at,
            )
        )
        for dead in batch
    )


def _joined(body: bytes, added: bytes) -> bytes:
    return body[:-1] + b"," + added[1:]
