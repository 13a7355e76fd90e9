"""Faust's own transport, but for two things: how long a fetch waits at the broker, and who says what is committed.

Faust lets a fetch wait for 1.5 s and offers no setting. A real broker answers as soon as there is data; the embedded one only
when the time is over, and then everything that is acknowledged is late by that much.
"""

from collections.abc import Mapping
from typing import Any, Final

import aiokafka
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.transport.drivers.aiokafka import Transport as FaustTransport
from faust.types import TP

FETCH_WAIT_MS: Final = 100


class _Thread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001  # read when the consumer starts
        return consumer


class _Consumer(Consumer):
    async def commit_stored(self, offsets: Mapping[TP, int]) -> None:
        """Commit the offsets of those partitions that are still this worker's; the others' are somebody else's by now."""
        ours = {partition: offset for partition, offset in offsets.items() if partition in self.assignment()}
        if ours:
            await self._commit(ours)

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class Transport(FaustTransport):
    """Set it as `app.transport`."""

    Consumer = _Consumer
