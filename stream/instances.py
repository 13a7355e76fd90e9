"""Samples of instances: stored as they come, and turned into scaling signals every few seconds. Telemetry, not money."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from contracts import topics
from contracts.clock import Clock
from contracts.events import Event
from stream import publish, rows
from stream.clickhouse import ClickHouse
from stream.decode import Dead, Policy, Record, decode
from stream.metrics import Metrics
from stream.publish import Publisher
from stream.retry import AWAY, Health, persist
from stream.scaling import Load

log = structlog.get_logger()


class Instances:
    """Takes samples and says what load they show."""

    def __init__(
        self,
        store: ClickHouse,
        publisher: Publisher,
        *,
        policy: Policy,
        health: Health,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._policy = policy
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._load = Load()

    async def store(self, records: Sequence[Record]) -> None:
        """Return when the samples are stored and count for the next signal."""
        now = self._clock()
        samples: list[Event[Any]] = []
        for item in (item for record in records for item in decode(record, now, self._policy)):
            if isinstance(item, Dead):
                self._metrics.dead.labels(item.reason).inc()
                log.warning("sample refused", reason=item.reason, detail=item.detail[:200])
            else:
                samples.append(item)
        self._metrics.events.labels(topics.INSTANCE).inc(len(samples))
        lines = rows.sample_rows(samples, now)
        await persist("instance_samples", lambda: self._store.insert("instance_sample_rows", lines), self._health)
        for sample in samples:
            self._load.observe(sample.data)

    async def signal_for_ever(self, seconds: float) -> None:
        """Write and publish signals every so many seconds. One that cannot be written is replaced by the next."""
        while True:
            await asyncio.sleep(seconds)
            now = self._clock()
            signals = self._load.signals(now)
            try:
                await self._store.write_signals(signals)
                await self._publisher.publish(publish.scaling(signal, now) for signal in signals)
            except AWAY as error:
                log.warning("scaling signals lost", error=str(error)[:200])
