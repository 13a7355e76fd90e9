"""Faust's own transport, but for how long a fetch may wait at the broker.

Faust asks for 1.5 s and offers no setting. A real broker answers as soon as there is data; the embedded one only when the
time is over, and then everything that is acknowledged is late by that much.
"""

from typing import Any, Final

import aiokafka
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.transport.drivers.aiokafka import Transport as FaustTransport

FETCH_WAIT_MS: Final = 100


class _Thread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001  # read when the consumer starts
        return consumer


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class Transport(FaustTransport):
    """Set it as `app.transport`."""

    Consumer = _Consumer
