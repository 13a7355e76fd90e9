"""A ledger as tests drive it: a real ClickHouse, a publisher that remembers, and what the views show."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from aiokafka.errors import KafkaConnectionError

from contracts import topics
from stream.clickhouse import ClickHouse
from stream.decode import Policy, Record
from stream.ledger import Ledger
from stream.metrics import Metrics
from stream.publish import Message, Publisher
from stream.retry import Health
from stream.windows import Window
from tests.stream.factory import NOON

VIEWS = (
    "usage",
    "requests",
    "usage_minute",
    "usage_hour",
    "usage_day",
    "producers",
    "conflicts",
)
_TIMES = {"ingested_at", "stored_at", "last_stored_at", "found_at"}


class Remembered(Publisher):
    """Publishes nowhere; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.messages: list[Message] = []
        self.failures = failures

    async def publish(self, messages: Iterable[Message]) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaConnectionError("away")
        self.messages += messages

    def data(self, topic: str) -> list[dict[str, Any]]:
        """Return the data of what was published to a topic, in order."""
        return [msgspec.json.decode(message.value)["data"] for message in self.messages if message.topic == topic]

    def acked(self) -> dict[tuple[str, str], int]:
        """Return the newest acknowledgement of each epoch."""
        return {(ack["producer"], ack["epoch"]): ack["contiguous"] for ack in self.data(topics.ACK)}


class Driver:
    """One stream worker's ledger, with a clock that stands still until it is set."""

    def __init__(self, store: ClickHouse, writer: str = "writer", publisher: Remembered | None = None) -> None:
        self.now = NOON
        self.published = publisher or Remembered()
        self.touched: list[Window] = []
        self.health = Health()
        self.ledger = Ledger(
            store,
            self.published,
            writer=writer,
            policy=Policy(),
            health=self.health,
            metrics=Metrics(),
            clock=self.clock,
            on_windows=self.touched.extend,
        )

    def clock(self) -> datetime:
        return self.now

    async def store(self, *records: Record) -> None:
        await self.ledger.store(records)


async def views(store: ClickHouse, names: Sequence[str] = VIEWS) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of the views in a fixed order, without the times at which they were stored."""
    found = {}
    for name in names:
        result = await store._client.query(f"SELECT * FROM {name}")
        kept = [place for place, column in enumerate(result.column_names) if column not in _TIMES]
        found[name] = sorted((tuple(row[place] for place in kept) for row in result.result_rows), key=repr)
    return found
