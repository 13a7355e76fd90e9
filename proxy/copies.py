"""Copies of prompts and answers on their way to Kafka: to a topic of their own, and kept nowhere else.

They are best effort: in memory until Kafka has them, never on disk, and given up, counted, when too many wait or Kafka does
not take one. Metering does not depend on them.
"""

import asyncio
from collections import deque
from datetime import datetime
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from contracts import events, topics
from contracts.events import Event
from contracts.prompts import PromptData

WAITING: Final = 16 << 20
"""Bytes of events that wait for Kafka; more are given up."""
PAUSE: Final = 1.0
_log = structlog.get_logger(__name__)


class Copies:
    """Those of a process that wait for Kafka."""

    def __init__(self, kafka: dict[str, Any], counter: Counter) -> None:
        """`kafka`: how to reach it; `counter` has the label `result`."""
        self._kafka = kafka
        self._sent, self._lost = counter.labels("sent"), counter.labels("lost")
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._size = 0
        self._some = asyncio.Event()

    def add(self, data: PromptData, now: datetime) -> None:
        """Have a copy sent. Returns at once."""
        event = Event(
            specversion="1.0",
            id=f"{data.request_id}.prompt",
            source=data.producer,
            type=topics.PROMPT,
            subject=data.tenant,
            time=now,
            datacontenttype="application/json",
            dataschema=topics.schema_id(topics.PROMPT),
            partitionkey=data.tenant,
            data=data,
        )
        body = events.encode(event)
        if self._size + len(body) > WAITING:
            self._lost.inc()
            return
        self._size += len(body)
        self._waiting.append((data.tenant.encode(), body))
        self._some.set()

    async def run(self) -> None:
        """Send them, until cancelled; a process without any connects to nobody."""
        producer: AIOKafkaProducer | None = None
        try:
            while True:
                await self._some.wait()
                try:
                    if producer is None:
                        producer = AIOKafkaProducer(**self._kafka, max_request_size=4 << 20)
                        await producer.start()
                    await self._send(producer)
                except (KafkaError, OSError) as error:
                    _log.warning("copies of prompts wait", error=type(error).__name__, waiting=len(self._waiting))
                    await asyncio.sleep(PAUSE)
        finally:
            if producer is not None:
                await producer.stop()

    async def _send(self, producer: AIOKafkaProducer) -> None:
        while self._waiting:
            tenant, body = self._waiting[0]
            try:
                await producer.send_and_wait(topics.PROMPT, body, key=tenant, headers=_HEADERS)
            except KafkaError as error:
                if error.retriable:
                    raise
                _log.error("a copy of a prompt is lost", error=type(error).__name__)
                self._lost.inc()
            else:
                self._sent.inc()
            self._waiting.popleft()
            self._size -= len(body)
        self._some.clear()


_HEADERS: Final = [("content-type", events.CONTENT_TYPE.encode())]
