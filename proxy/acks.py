"""Reads what the ledger says it holds: `weighbridge.ack.v1`, all partitions, from the end, in no consumer group.

An acknowledgement that was missed is not waited for: what it would have acknowledged is sent again, and acknowledged again.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from contracts import events, topics
from contracts.events import AckData

_PAUSE_LEAST, _PAUSE_MOST = 0.25, 5.0
_log = structlog.get_logger(__name__)
_decoder = msgspec.json.Decoder(topics.event_type(topics.ACK))


class AckReader:
    """Hands every acknowledgement to `receive`."""

    def __init__(self, connection: dict[str, Any], receive: Callable[[AckData], None]) -> None:
        self._connection = connection
        self._receive = receive

    async def run(self) -> None:
        """Read until cancelled; reconnects for ever."""
        pause = _PAUSE_LEAST
        while True:
            began = time.monotonic()
            try:
                await self._session()
            except (KafkaError, OSError) as error:
                _log.debug("acknowledgements away", error=repr(error))
            pause = _PAUSE_LEAST if time.monotonic() - began > _PAUSE_MOST else min(2 * pause, _PAUSE_MOST)
            await asyncio.sleep(pause)

    async def _session(self) -> None:
        consumer = AIOKafkaConsumer(
            topics.ACK, **self._connection, group_id=None, enable_auto_commit=False, auto_offset_reset="latest"
        )
        try:
            await consumer.start()
            while True:
                taken = await consumer.getmany(timeout_ms=1000)
                for records in taken.values():
                    for record in records:
                        self._take(record.value)
        finally:
            await consumer.stop()

    def _take(self, value: bytes) -> None:
        try:
            for raw in events.split(value):
                self._receive(_decoder.decode(raw).data)
        except ValueError as error:
            _log.warning("unreadable acknowledgement", error=str(error))
