"""One batch: what is done with it, and in which order.

    raw rows → dead letters → conflicts and roll-ups → producer_sequences → acknowledgements → (the agent) offsets

Each effect may be done twice, and each later one claims only what the earlier ones have made true. So a process that dies
between any two of them leaves a ledger that is right as far as it goes, and whoever reads the batch again completes it. An
effect whose server is away is tried in place until it is done: a batch is never given up.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

import structlog

from contracts import topics
from contracts.clock import Clock
from contracts.events import AckData, Event, Produced, RequestData, UsageData
from stream import completeness, publish, rows
from stream.clickhouse import ClickHouse, Epoch, Kind
from stream.decode import Dead, Policy, Record, decode
from stream.metrics import Metrics
from stream.publish import Publisher
from stream.retry import Health, persist
from stream.windows import Window, touched

T = TypeVar("T")
log = structlog.get_logger()

SLICE_BYTES: Final = 16 * 1024 * 1024
"""Bytes of records that are held as objects at once."""


@dataclass
class Batch:
    """Decoded records. `sequences` has every event whose sequence could be read, dead ones too."""

    usage: list[Event[UsageData]] = field(default_factory=list)
    requests: list[Event[RequestData]] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    sequences: dict[Epoch, set[int]] = field(default_factory=dict)

    def add(self, item: Event[Any] | Dead) -> None:
        """Put an event or a dead letter where it belongs."""
        if isinstance(item, Dead):
            self.dead.append(item)
            if item.produced is not None:
                self._held(item.produced)
            return
        if isinstance(item.data, UsageData):
            self.usage.append(item)
        else:
            self.requests.append(item)
        self._held(item.data)

    def _held(self, produced: Produced) -> None:
        self.sequences.setdefault((produced.producer, produced.epoch), set()).add(produced.sequence)


class Ledger:
    """Stores batches. `writer` names this process and no other; `on_windows` hears which windows have changed."""

    def __init__(
        self,
        store: ClickHouse,
        publisher: Publisher,
        *,
        writer: str,
        policy: Policy,
        health: Health,
        metrics: Metrics,
        clock: Clock,
        on_windows: Callable[[list[Window]], None],
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._writer = writer
        self._policy = policy
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._on_windows = on_windows

    async def store(self, records: Sequence[Record]) -> None:
        """Return when the ledger holds all events of the records, and their producers have been told."""
        for part in slices(records):
            with self._metrics.batch.time():
                now = self._clock()
                await self._store_batch(self._decode(part, now), now)

    def _decode(self, records: Iterable[Record], now: datetime) -> Batch:
        batch = Batch()
        for record in records:
            for item in decode(record, now, self._policy):
                batch.add(item)
        self._metrics.events.labels(topics.USAGE).inc(len(batch.usage))
        self._metrics.events.labels(topics.REQUEST).inc(len(batch.requests))
        for dead in batch.dead:
            self._metrics.dead.labels(dead.reason).inc()
            place = {"topic": dead.record.topic, "partition": dead.record.partition, "offset": dead.record.offset}
            log.warning("dead letter", reason=dead.reason, detail=dead.detail[:200], **place)
        return batch

    async def _store_batch(self, batch: Batch, now: datetime) -> None:
        usage, requests = rows.request_rows(batch.usage, now, now), rows.request_rows(batch.requests, now, now)
        await self._persist("usage_events", lambda: self._store.insert("usage_events", usage))
        await self._persist("request_events", lambda: self._store.insert("request_events", requests))
        if batch.dead:
            await self._persist("dead_letters", lambda: self._bury(batch.dead, now))
        windows = touched(batch.usage)
        await self._persist("conflicts", lambda: self._exclude("usage", windows, now))
        await self._persist("conflicts", lambda: self._exclude("request", touched(batch.requests), now))
        await self._persist("roll-ups", lambda: self._store.roll_up(windows))
        acks = await self._persist("producer_sequences", lambda: self._account(batch.sequences, now))
        await self._persist("acknowledgements", lambda: self._publisher.publish(acks))
        self._on_windows(windows)

    async def _bury(self, dead: list[Dead], now: datetime) -> None:
        await self._store.insert("dead_letters", rows.dead_rows(dead, now))
        await self._publisher.publish(publish.dead_letter(letter, now) for letter in dead)

    async def _exclude(self, kind: Kind, windows: list[Window], now: datetime) -> None:
        for window in await self._store.exclude_conflicts(kind, windows, now):
            self._metrics.dead.labels("conflict").inc()
            log.error("conflict", kind=kind, tenant=window.tenant, minute=window.minute.isoformat())

    async def _account(self, sequences: dict[Epoch, set[int]], now: datetime) -> list[publish.Message]:
        """Write down which sequences the ledger holds; return what to tell their producers."""
        if not sequences:
            return []
        known = await self._store.ranges(sequences)
        held = {
            epoch: completeness.union(completeness.of(added), *known.get(epoch, []))
            for epoch, added in sequences.items()
        }
        await self._store.write_ranges(self._writer, held, now)
        return [
            publish.ack(AckData(producer=producer, epoch=epoch, contiguous=completeness.contiguous(ranges)), now)
            for (producer, epoch), ranges in held.items()
        ]

    async def _persist(self, what: str, effect: Callable[[], Awaitable[T]]) -> T:
        return await persist(what, effect, self._health)


def slices(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield the records in order, in lists that start anew when `SLICE_BYTES` are exceeded."""
    part: list[Record] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if part and size + length > SLICE_BYTES:
            yield part
            part, size = [], 0
        part.append(record)
        size += length
    if part:
        yield part
