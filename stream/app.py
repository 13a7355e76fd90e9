"""The Faust application: thin agents that take batches of raw records and commit their offsets once they are stored.

Faust's own acknowledgements are not used. `take` acknowledges a batch in a `finally`, also when the agent has failed;
`noack_take` does not, but whatever the stream skips during a rebalance is acknowledged all the same, and then committed. So the
topics are declared without acknowledgements, `noack_take` gathers the batches, and an agent commits what it has stored
itself: offsets that were read in the present generation of the group. What was read in an older one is read again by its owner.

An agent never fails: whatever it cannot go on from ends the process at once (`abandon`), and its supervisor starts another,
which reads again what was not committed.

With `stream_reread` no offset is ever committed and every start reads all that the broker holds. The embedded broker holds
little, and forgets offsets and groups when it restarts: then a commit that was under way would skip what is new there.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn
from uuid import uuid4

import faust
import structlog
from faust.types import TP

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
ASSIGNMENT_SECONDS: Final = 45.0
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


async def watch(lifecycle: Lifecycle, health: Health) -> None:
    """Start the process over when it has been without partitions for too long: a group that was never joined is not retried."""
    since = time.monotonic()
    while True:
        await asyncio.sleep(1.0)
        if "assignment" not in health.failing or lifecycle.stopping:
            since = time.monotonic()
        elif time.monotonic() - since > ASSIGNMENT_SECONDS:
            abandon(f"no partitions for {ASSIGNMENT_SECONDS} s")


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
        f"{settings.stream_group}-{uuid4().hex}" if settings.stream_reread else settings.stream_group,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")],
        broker_credentials=kafka.credentials(settings),
        broker_max_poll_records=5000,
        broker_session_timeout=SESSION_SECONDS,
        broker_rebalance_timeout=SESSION_SECONDS * 2,
        broker_heartbeat_interval=SESSION_SECONDS / 4,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=8 * 1024 * 1024,
        stream_buffer_maxsize=1_024,  # records, of up to 50 KB when batched; a longer queue was no faster
        stream_recovery_delay=0.0,
        datadir=data_dir,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    for name, names in AGENTS.items():
        topic = app.topic(
            *names, key_serializer="raw", value_serializer="raw", key_type=bytes, value_type=bytes, acks=False
        )
        app.agent(topic, name=name)(_agent(app, name, stores[name], settings, lifecycle))

    async def revoked(*_about: Any, **_signal: Any) -> None:
        if app.consumer.assignment() and not lifecycle.stopping:
            health.failing["assignment"] = "partitions were taken away"
            if settings.stream_reread:
                abandon("the broker has forgotten this worker")

    async def assigned(*_about: Any, **_signal: Any) -> None:
        health.failing.pop("assignment", None)

    app.on_partitions_revoked.connect(revoked, weak=False)
    app.on_partitions_assigned.connect(assigned, weak=False)
    return app


def _agent(
    app: faust.App, name: str, store: Store, settings: StreamSettings, lifecycle: Lifecycle
) -> Callable[[Any], Awaitable[None]]:
    async def agent(stream: Any) -> None:
        try:
            async for batch in stream.noack_take(settings.stream_batch_records, settings.stream_batch_seconds):
                async with lifecycle.storing[name]:
                    await store([_record(event.message) for event in batch])
                    if not settings.stream_reread:
                        consumer: Any = app.consumer
                        await consumer.commit_stored(offsets(batch, app.consumer_generation_id))
        except Exception:
            log.exception("agent failed", agent=name)
            raise
        finally:
            if not lifecycle.stopping:
                abandon(f"the agent {name} ended")

    return agent


def offsets(batch: Iterable[Any], generation: int) -> dict[TP, int]:
    """Return up to where each partition was read by a batch's events, of those that were read in this generation."""
    found: dict[TP, int] = {}
    for event in batch:
        message = event.message
        if message.generation_id == generation:
            found[message.tp] = max(found.get(message.tp, 0), message.offset + 1)
    return found


def _record(message: Any) -> Record:
    return Record(message.topic, message.partition, message.offset, message.value)
