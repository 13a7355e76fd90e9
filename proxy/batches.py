"""Events of the spool, put together as the Kafka records that carry them. Pure, but for reading back what is not in memory."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from aiokafka.partitioner import murmur2

from contracts import events
from proxy.envelope import TOPIC
from proxy.spool import record
from proxy.spool.backlog import Piece
from proxy.spool.record import FINAL, Record

RECORD_BYTES: Final = 256 << 10
_SINGLE: Final = [("content-type", events.CONTENT_TYPE.encode())]
_BATCH: Final = [("content-type", events.BATCH_CONTENT_TYPE.encode())]

Packed = tuple[bytes | None, bytes, list[tuple[str, bytes]]]
"""A Kafka record: key, value, headers."""


class SpoolDamagedError(Exception):
    """What was synced cannot be read back."""


@lru_cache(4096)
def partition_of(tenant: bytes, partitions: int) -> int:
    """Return the partition (of 0 to `partitions` - 1) that Kafka's default partitioner gives a record keyed by the tenant."""
    return int(murmur2(tenant) & 0x7FFFFFFF) % partitions


def group(pieces: Iterable[Piece], partitions: dict[str, int]) -> dict[tuple[str, int], list[Record]]:
    """Return the events of pieces, in order, by topic and partition. Raises SpoolDamagedError."""
    grouped: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
    known: dict[tuple[int, bytes], list[Record]] = {}
    for piece in pieces:
        for entry in piece.events if piece.events is not None else _read_back(piece):
            place = known.get((entry.kind, entry.tenant))
            if place is None:
                topic = TOPIC[entry.kind]
                place = grouped[topic, partition_of(entry.tenant, partitions[topic])]
                known[entry.kind, entry.tenant] = place
            place.append(entry)
    return grouped


def _read_back(piece: Piece) -> list[Record]:
    found = [entry for entry in record.scan(piece.segment.read(piece.start, piece.end)) if entry.kind in FINAL]
    if len(found) != piece.last - piece.first + 1:
        raise SpoolDamagedError(f"{piece.segment.path} is damaged between {piece.start} and {piece.end}")
    return found


def pack(entries: list[Record]) -> Iterator[Packed]:
    """Put the events of one partition into Kafka records. One event alone keeps its tenant as key."""
    batch: list[Record] = []
    size = 0
    for entry in entries:
        if batch and size + len(entry.body) > RECORD_BYTES:
            yield _packed(batch)
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.body) + 1
    if batch:
        yield _packed(batch)


def _packed(batch: list[Record]) -> Packed:
    if len(batch) == 1:
        return batch[0].tenant, batch[0].body, _SINGLE
    return None, events.join([entry.body for entry in batch]), _BATCH
