"""The process: opens clients, starts the agents and the loops beside them, and stops in order."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import uuid4

import faust
import structlog
import uvloop
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from contracts import logs
from contracts.clock import utc_now
from stream import admin, kafka
from stream.alerts import Alerts
from stream.app import Lifecycle, build, watch
from stream.clickhouse import ClickHouse
from stream.feedback import QuotaFeedback
from stream.instances import Instances
from stream.ledger import Ledger
from stream.limit_feedback import LimitFeedback
from stream.metrics import Metrics
from stream.migrate import MigrationError, migrate
from stream.publish import Publisher
from stream.retry import Health, persist
from stream.settings import StreamSettings
from stream.windows import Window

log = structlog.get_logger()

STOP_SECONDS: Final = 10.0
"""How long a batch in hand may take to be stored, and Faust to stop, when the process is told to end."""


def run(settings: StreamSettings) -> None:
    """Read, store and acknowledge until SIGTERM or SIGINT. Raises SystemExit(1) when the process cannot go on."""
    logs.configure(settings.log_level, "stream")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_until_signal(settings))
        except (MigrationError, OSError) as error:
            log.error("cannot start", error=str(error))  # noqa: TRY400  # a reason for people, not for us
            sys.exit(1)


async def _until_signal(settings: StreamSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    lifecycle = Lifecycle()
    work = asyncio.create_task(_work(settings, lifecycle))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        log.info("stopping")
        await lifecycle.finish(STOP_SECONDS)
        work.cancel()
    stopped.cancel()
    await asyncio.wait({work})
    if not work.cancelled():
        work.result()


async def _work(settings: StreamSettings, lifecycle: Lifecycle) -> None:
    health, metrics = Health({"assignment": "no partitions yet"}), Metrics()
    async with AsyncExitStack() as stack:
        runner = await admin.listen(admin.create(health, metrics), settings.stream_admin)
        stack.push_async_callback(runner.cleanup)
        await migrate(settings.clickhouse_url)
        store = await ClickHouse.connect(settings.clickhouse_url)
        stack.push_async_callback(store.close)
        await persist("topics", lambda: kafka.create_topics(settings), health)
        publisher = Publisher(await persist("producer", lambda: _producer(settings, stack), health))
        tell: dict[str, Any] = {"policy": settings.policy(), "health": health, "metrics": metrics, "clock": utc_now}
        instances = Instances(store, publisher, **tell)
        loops: list[Coroutine[Any, Any, None]] = [instances.signal_for_ever(settings.stream_scaling_seconds)]
        touch: Callable[[list[Window]], None] = _nobody
        if settings.stream_quota_feedback:
            redis = Redis.from_url(settings.redis_url, socket_connect_timeout=5, socket_timeout=5)
            stack.push_async_callback(redis.aclose)
            feedback = QuotaFeedback(store, publisher, redis, health, utc_now)
            limits = LimitFeedback(store, redis, health, metrics, Alerts(publisher, redis, utc_now), utc_now)
            touch = _all(feedback.touch, limits.touch)
            loops += [feedback.run(), limits.run()]
        ledger = Ledger(store, publisher, writer=uuid4().hex, on_windows=touch, **tell)
        folder = settings.stream_data_dir or stack.enter_context(tempfile.TemporaryDirectory())
        stores = {"ledger": ledger.store, "instances": instances.store}
        app = build(settings, str(folder), stores, lifecycle, health)
        await _run_together([_faust(app), watch(lifecycle, health), *loops])


def _all(*touched: Callable[[list[Window]], None]) -> Callable[[list[Window]], None]:
    """Return one that tells all."""

    def touch(windows: list[Window]) -> None:
        for each in touched:
            each(windows)

    return touch


def _nobody(_windows: list[Window]) -> None:
    """Hear of changed windows when nobody wants to know."""


async def _producer(settings: StreamSettings, stack: AsyncExitStack) -> AIOKafkaProducer:
    """Start a producer. Not an idempotent one: all that it sends may arrive twice."""
    producer = AIOKafkaProducer(**kafka.client_options(settings), acks="all", max_request_size=16 * 1024 * 1024)
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    stack.push_async_callback(producer.stop)
    return producer


async def _faust(app: faust.App) -> None:
    """Run the agents until they stop; raises SystemExit(1) when Faust does so by itself."""
    app.finalize()
    try:
        await app.start()
        await app.wait_until_stopped()
    finally:
        await asyncio.wait_for(app.stop(), STOP_SECONDS)
    log.error("Faust stopped", crash=repr(app.crash_reason))
    sys.exit(1)


async def _run_together(parts: list[Coroutine[Any, Any, None]]) -> None:
    """Run all until one ends, which fails all."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(part)
