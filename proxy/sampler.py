"""Looks at the vLLM server every few seconds and publishes what it sees: telemetry, which may be lost.

One worker process does it for all. What the others have in flight stands in the metrics that they share.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Gauge
from prometheus_client.multiprocess import MultiProcessCollector

from contracts import events, metrics, topics
from contracts.clock import Clock
from contracts.events import Event, InstanceData
from proxy.envelope import source
from proxy.kafka import connection
from proxy.lane.fetch import fetch
from proxy.lane.pool import Pool
from proxy.plain import Plain
from proxy.queue.gate import Gate
from proxy.queue.learn import Learner, Reading
from proxy.recorder import new_epoch
from proxy.status import METRICS_VARIABLE
from proxy.upstream_metrics import EngineMetrics, parse

EVERY: Final = 5.0
EVERY_SOON: Final = 1.0
"""More often while the server is starting, and while requests wait: they should not wait longer than it takes."""
_TIMEOUT: Final = 4.0
_HEADERS: Final = [("content-type", events.CONTENT_TYPE.encode())]
_log = structlog.get_logger(__name__)


class Sampler:
    """Samples one upstream. `healthy` is the last answer of its health check, None before the first."""

    def __init__(self, settings: Plain, up: Gauge, clock: Clock, gate: Gate, alone: bool = True) -> None:
        """`up`: the gauge of all upstreams; `alone`: this is the only upstream of the proxy.

        `gate`: into the upstream's queue; its capacity is set to what is learned, unless the settings say what it is.
        """
        self.healthy: bool | None = None
        self._alone, self._gate = alone, gate
        self._pause = EVERY
        self._learner = Learner(gate.capacity) if not settings.capacity else None
        self._instance, self._clock = settings.instance, clock
        self._producer_name, self._epoch, self._count = source(settings.instance), new_epoch(), 0
        self._up = up.labels(settings.instance)
        traffic = settings.traffic(("", 0))
        self._pool = Pool(traffic.address, traffic.upstream_tls(), traffic.timeouts.connect)
        self._headers = [(b"host", settings.upstream.partition("://")[2].encode())]
        if settings.upstream_api_key is not None:
            self._headers.append((b"authorization", b"Bearer " + settings.upstream_api_key.encode()))
        self._kafka = connection(settings, f"weighbridge-{settings.instance}-sampler")
        self._producer: AIOKafkaProducer | None = None

    async def run(self) -> None:
        """Sample until cancelled."""
        try:
            while True:
                data = await self._sample()
                if data is not None:
                    await self._publish(data)
                await asyncio.sleep(self._pause)
        finally:
            await self._disconnect()

    async def _sample(self) -> InstanceData | None:
        self.healthy, engine = await self._look()
        self._up.set(int(self.healthy))
        if self._learner is not None:
            reading = Reading(self._gate.in_flight, self._gate.queued, engine.running, engine.waiting)
            self._gate.capacity = self._learner.learn(reading)
        self._pause = EVERY_SOON if engine.waiting or self._gate.queued or not self.healthy else EVERY
        if self._alone:
            counts = _shared_counts(Path(os.environ[METRICS_VARIABLE]))
            in_flight, queued = counts.get(metrics.IN_FLIGHT.name, 0), counts.get(metrics.QUEUED.name, 0)
        elif engine.running is None or engine.waiting is None:
            return None  # what the workers count is of all upstreams together, and the engine does not say
        else:
            in_flight, queued = engine.running + engine.waiting, 0
        return InstanceData(
            producer=self._producer_name,
            instance=self._instance,
            model=engine.model,
            sampled_at=self._clock(),
            healthy=self.healthy,
            in_flight=in_flight,
            queued=queued,
            running=engine.running,
            waiting=engine.waiting,
            kv_cache_usage=engine.kv_cache_usage,
            prompt_tokens_total=engine.prompt_tokens_total,
            generation_tokens_total=engine.generation_tokens_total,
            engine_started_at=engine.started_at,
        )

    async def _look(self) -> tuple[bool, EngineMetrics]:
        try:
            status, _ = await fetch(self._pool, b"/health", self._headers, _TIMEOUT)
            healthy = status == 200
            status, body = await fetch(self._pool, b"/metrics", self._headers, _TIMEOUT)
            return healthy, parse(body.decode()) if status == 200 else EngineMetrics()
        except (OSError, OverflowError, ValueError) as error:
            _log.debug("upstream not sampled", error=repr(error))
            return False, EngineMetrics()
        finally:
            self._pool.close()  # the next look is later than an idle connection lives

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
            async with asyncio.timeout(_TIMEOUT):
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
            with suppress(KafkaError, OSError):  # what cannot be told to a broker that is away
                await producer.stop()


def _shared_counts(folder: Path) -> dict[str, int]:
    """Return the sums of the workers' gauges, by name; at most a second old."""
    files = []
    for file in folder.glob("gauge_livesum_*.db"):
        with suppress(FileNotFoundError):  # its worker is gone
            if file.stat().st_size:  # none yet: its worker is just making it, and it could not be read
                files.append(str(file))
    merged = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    return {metric.name: int(sum(sample.value for sample in metric.samples)) for metric in merged}
