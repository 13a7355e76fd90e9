"""The Faust application: thin agents that take batches of raw records and acknowledge them once they are stored.

`noack_take` is what keeps offsets uncommitted: it hands out events and leaves their acknowledgement to the agent, whereas
`take` acknowledges a batch in a `finally`, also when the agent failed. Since Faust then commits past what a failed agent
held, an agent here never fails: whatever it cannot go on from ends the process at once, without a commit (`abandon`), and
its supervisor starts another, which reads the batch again. The same happens when partitions are taken away, because what is
in Faust's buffers then belongs to somebody else. A restart within Kafka's session timeout joins the same rebalance.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import faust
import structlog

from contracts import topics
from stream import kafka
from stream.decode import Record
from stream.retry import Health
from stream.settings import StreamSettings
from stream.transport import Transport

log = structlog.get_logger()

EXIT_ABANDONED: Final = 75  # EX_TEMPFAIL: start me again
SESSION_SECONDS: Final = 6.0
"""How long a worker may be silent before the others take its partitions: the least that brokers allow by default."""
AGENTS: Final = {"ledger": (topics.USAGE, topics.REQUEST), "instances": (topics.INSTANCE,)}
"""The agents and the topics that each reads."""

Store = Callable[[Sequence[Record]], Awaitable[None]]


class Lifecycle:
    """Whether the process is stopping in order, and a lock for each agent, held while a batch is stored."""

    def __init__(self) -> None:
        self.stopping = False
        self.storing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def finish(self, seconds: float) -> None:
        """Let no agent begin another batch, and wait, at most so long, until what is in hand is stored."""
        self.stopping = True
        try:
            async with asyncio.timeout(seconds):
                for lock in self.storing.values():
                    await lock.acquire()
        except TimeoutError:
            log.warning("stopping with a batch in hand: it will be read again")


def abandon(reason: str) -> NoReturn:
    """End the process at once, committing nothing."""
    log.critical("starting over", reason=reason)
    os._exit(EXIT_ABANDONED)


def build(
    settings: StreamSettings, data_dir: str, stores: Mapping[str, Store], lifecycle: Lifecycle, health: Health
) -> faust.App:
    """Return the application.

    Args:
        settings: how to reach Kafka and how large batches are.
        data_dir: a folder that Faust may write to; nothing of worth is kept there.
        stores: for each of `AGENTS` what takes its records and returns when they are stored, however long that takes.
        lifecycle: shared with whoever stops the process.
        health: told when partitions are assigned.
    """
    app = faust.App(
        settings.stream_group,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")],
        broker_credentials=kafka.credentials(settings),
        broker_max_poll_records=5000,
        broker_session_timeout=SESSION_SECONDS,
        broker_rebalance_timeout=SESSION_SECONDS * 2,
        broker_heartbeat_interval=SESSION_SECONDS / 4,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=8 * 1024 * 1024,
        stream_buffer_maxsize=65_536,
        stream_recovery_delay=0.0,
        datadir=data_dir,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    for name, names in AGENTS.items():
        topic = app.topic(*names, key_serializer="raw", value_serializer="raw", key_type=bytes, value_type=bytes)
        app.agent(topic, name=name)(_agent(name, stores[name], settings, lifecycle))

    async def revoked(*_about: Any, **_signal: Any) -> None:
        if app.consumer.assignment() and not lifecycle.stopping:
            abandon("partitions were taken away")

    async def assigned(*_about: Any, **_signal: Any) -> None:
        health.failing.pop("assignment", None)

    app.on_partitions_revoked.connect(revoked, weak=False)
    app.on_partitions_assigned.connect(assigned, weak=False)
    return app


def _agent(name: str, store: Store, settings: StreamSettings, lifecycle: Lifecycle) -> Callable[[Any], Awaitable[None]]:
    async def agent(stream: Any) -> None:
        try:
            async for batch in stream.noack_take(settings.stream_batch_records, settings.stream_batch_seconds):
                async with lifecycle.storing[name]:
                    await store([_record(event.message) for event in batch])
                    for event in batch:
                        await stream.ack(event)
        except Exception:
            log.exception("agent failed", agent=name)
            raise
        finally:
            if not lifecycle.stopping:
                abandon(f"the agent {name} ended")

    return agent


def _record(message: Any) -> Record:
    return Record(message.topic, message.partition, message.offset, message.value)
