"""Brings what is on disk to Kafka, and sends again what the ledger does not acknowledge.

Kafka may be away at the start or at any time: then nothing is lost and nothing piles up in memory, for what waits for longer
is read back from the spool when it is sent. The broker having an event is not enough: it stays in the backlog until the
ledger has it.
"""

import asyncio
import time
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from prometheus_client import Counter

from proxy.batches import RECORD_BYTES, group, pack
from proxy.envelope import TOPIC
from proxy.journal import Journal, Source
from proxy.spool.backlog import PIECE, Piece

ROUND_BYTES: Final = 256 << 10
"""Bytes of events read and sent at once: bounds memory, and how long the event loop is kept busy."""
REQUEST_TIMEOUT_MS: Final = 10_000
_PIECES: Final = ROUND_BYTES // PIECE
_STOP_TIMEOUT: Final = 2.0
_ROUND_TIMEOUT: Final = 30.0
_PAUSE_LEAST, _PAUSE_MOST = 0.25, 10.0
_log = structlog.get_logger(__name__)


class Publisher:
    """Publishes the journal's spools. `window` bounds the bytes of events that were sent and not acknowledged."""

    def __init__(self, connection: dict[str, Any], journal: Journal, window: int | None, published: Counter) -> None:
        self.connected = False
        self._connection = connection
        self._journal = journal
        self._window = window
        self._published = published
        self._changed = asyncio.Event()
        journal.on_change = self._changed.set

    async def run(self) -> None:
        """Publish until cancelled; reconnects for ever."""
        pause = _PAUSE_LEAST
        while True:
            try:
                await self._session()
            except (KafkaError, OSError) as error:
                if self.connected or pause == _PAUSE_LEAST:
                    _log.warning("kafka away", error=repr(error))
                pause = _PAUSE_LEAST if self.connected else min(2 * pause, _PAUSE_MOST)
            self.connected = False
            await asyncio.sleep(pause)

    async def _session(self) -> None:
        producer = AIOKafkaProducer(
            **self._connection,
            enable_idempotence=True,
            acks="all",
            max_batch_size=2 * RECORD_BYTES,
            max_request_size=4 * RECORD_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
            self.connected = True
            _log.info("kafka connected")
            while True:
                await self._round(producer)
        finally:
            await _stop(producer)

    async def _round(self, producer: AIOKafkaProducer) -> None:
        """Send what is due, or wait until something is."""
        self._changed.clear()
        now = time.monotonic()
        idle = True
        for source in self._journal.sources:
            again = source.backlog.overdue(now)
            if again:
                _log.info("sending again", epoch=source.epoch, first=again[0].first, last=again[-1].last)
                for start in range(0, len(again), _PIECES):
                    await self._send(producer, again[start : start + _PIECES])
            fresh = self._take(source, now)
            if fresh:
                await self._send(producer, fresh)
                source.backlog.sent(fresh, time.monotonic())
            idle = idle and not again and not fresh
        if idle:
            await self._wait(now)

    def _take(self, source: Source, now: float) -> list[Piece]:
        if self._window is None:
            return source.backlog.take(ROUND_BYTES, now)
        in_flight = sum(each.backlog.in_flight for each in self._journal.sources)
        room = self._window - in_flight - PIECE  # what is taken may be one piece over what is asked for
        if room <= 0 and in_flight:
            return []
        return source.backlog.take(min(ROUND_BYTES, max(room, 1)), now)

    async def _wait(self, now: float) -> None:
        due = [at for source in self._journal.sources if (at := source.backlog.resend_at()) is not None]
        try:
            async with asyncio.timeout(max(min(due) - now, 0.0) if due else None):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _send(self, producer: AIOKafkaProducer, pieces: list[Piece]) -> None:
        """Send pieces and wait until the broker has them. Raises KafkaError or TimeoutError; some may then have arrived."""
        async with asyncio.timeout(_ROUND_TIMEOUT):
            partitions = {topic: len(await producer.partitions_for(topic)) for topic in TOPIC.values()}
            delivered = []
            for (topic, partition), entries in group(pieces, partitions).items():
                for key, value, headers in pack(entries):
                    sending = producer.send(topic, value, key=key, partition=partition, headers=headers)
                    delivered.append(await sending)
                self._published.labels(topic).inc(len(entries))
        # Not `gather`: it would cancel what it waits for, and aiokafka's sender dies of a cancelled delivery.
        done, late = await asyncio.wait(delivered, timeout=_ROUND_TIMEOUT)
        if late:
            raise KafkaTimeoutError(f"{len(late)} records not acknowledged by the broker in {_ROUND_TIMEOUT} s")
        for delivery in done:
            delivery.result()


async def _stop(producer: AIOKafkaProducer) -> None:
    """Close a producer without waiting for what it could not deliver: the spool has it."""
    producer._message_accumulator.fail_all(KafkaError("the session ended"))  # noqa: SLF001  # `stop` waits for ever
    stopping = asyncio.create_task(producer.stop())
    stopping.add_done_callback(_stopped)
    await asyncio.wait({stopping}, timeout=_STOP_TIMEOUT)
    stopping.cancel()


def _stopped(stopping: "asyncio.Task[None]") -> None:
    if not stopping.cancelled() and (error := stopping.exception()) is not None:
        _log.debug("producer stopped badly", error=repr(error))
