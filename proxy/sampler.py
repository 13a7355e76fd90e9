"""Looks at the vLLM server every few seconds and publishes what it sees: telemetry, which may be lost."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from contracts import events, metrics, topics
from contracts.clock import Clock
from contracts.events import Event, InstanceData
from proxy.envelope import source
from proxy.kafka import connection
from proxy.recorder import new_epoch
from proxy.settings import ProxySettings
from proxy.upstream_metrics import EngineMetrics, parse

EVERY: Final = 5.0
EVERY_UNHEALTHY: Final = 1.0
"""More often while the server is starting: whoever waits for it should not wait longer than it takes."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=4.0)
_HEADERS: Final = [("content-type", events.CONTENT_TYPE.encode())]
_log = structlog.get_logger(__name__)


class Sampler:
    """Samples one upstream. `healthy` is the last answer of its health check, None before the first."""

    def __init__(
        self, settings: ProxySettings, in_flight: Callable[[], int], registry: CollectorRegistry, clock: Clock
    ) -> None:
        self.healthy: bool | None = None
        self._settings, self._in_flight, self._clock = settings, in_flight, clock
        self._producer_name, self._epoch, self._count = source(settings.instance), new_epoch(), 0
        self._up = metrics.UPSTREAM_UP.gauge(registry).labels(settings.instance)
        key = settings.upstream_api_key
        self._headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}
        self._kafka = connection(settings, f"weighbridge-{settings.instance}-sampler")
        self._producer: AIOKafkaProducer | None = None

    async def run(self) -> None:
        """Sample until cancelled."""
        async with aiohttp.ClientSession(self._settings.upstream, headers=self._headers, timeout=_TIMEOUT) as session:
            try:
                while True:
                    await self._publish(await self._sample(session))
                    await asyncio.sleep(EVERY if self.healthy else EVERY_UNHEALTHY)
            finally:
                await self._disconnect()

    async def _sample(self, session: aiohttp.ClientSession) -> InstanceData:
        self.healthy, engine = await self._look(session)
        self._up.set(int(self.healthy))
        return InstanceData(
            producer=self._producer_name,
            instance=self._settings.instance,
            model=engine.model,
            sampled_at=self._clock(),
            healthy=self.healthy,
            in_flight=self._in_flight(),
            queued=0,
            running=engine.running,
            waiting=engine.waiting,
            kv_cache_usage=engine.kv_cache_usage,
            prompt_tokens_total=engine.prompt_tokens_total,
            generation_tokens_total=engine.generation_tokens_total,
            engine_started_at=engine.started_at,
        )

    async def _look(self, session: aiohttp.ClientSession) -> tuple[bool, EngineMetrics]:
        try:
            async with session.get("/health") as answer:
                healthy = answer.status == 200
            async with session.get("/metrics") as answer:
                return healthy, parse(await answer.text()) if answer.status == 200 else EngineMetrics()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            _log.debug("upstream not sampled", error=repr(error))
            return False, EngineMetrics()

    async def _publish(self, data: InstanceData) -> None:
        self._count += 1
        event = Event(
            specversion="1.0",
            id=f"{self._epoch}.{self._count}",
            source=self._producer_name,
            type=topics.INSTANCE,
            subject=data.instance,
            time=data.sampled_at,
            datacontenttype="application/json",
            dataschema=topics.schema_id(topics.INSTANCE),
            partitionkey=data.instance,
            data=data,
        )
        try:
            producer: Any = await self._connected()
            async with asyncio.timeout(_TIMEOUT.total):
                key = data.instance.encode()
                await producer.send_and_wait(topics.INSTANCE, events.encode(event), key=key, headers=_HEADERS)
        except (KafkaError, OSError) as error:
            _log.debug("sample lost", error=repr(error))
            await self._disconnect()

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = AIOKafkaProducer(**self._kafka, request_timeout_ms=3000)
            await self._producer.start()
        return self._producer

    async def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
