"""Servers and a ledger for tests of the recording side."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from contracts import events, topics
from contracts.clock import utc_now
from contracts.events import AckData, Event, RequestData, UsageData
from tests.servers import Server, free_port, listens


@contextmanager
def kafka(folder: Path) -> Iterator[Server]:
    """Run the embedded Kafka; `address` is its bootstrap server. It forgets everything when it is killed."""
    port = free_port()
    command = [sys.executable, "-m", "embedded.kafka", "--port", str(port)]
    server = Server(command, f"127.0.0.1:{port}", folder / "kafka.log", lambda: listens(port))
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    """Run the embedded Redis; `address` is its URL."""
    port = free_port()
    data = folder / "redis"
    command = [sys.executable, "-m", "embedded.redis", "--port", str(port), "--data-dir", str(data)]
    server = Server(command, f"redis://127.0.0.1:{port}/0", folder / "redis.log", lambda: listens(port))
    try:
        yield server
    finally:
        server.stop()


def usage(recorder, **fields) -> UsageData:
    """Return a usage event's data, its id and place filled in."""
    now = utc_now()
    common: dict[str, Any] = {
        "producer": recorder.producer,
        "epoch": recorder.epoch,
        "sequence": 1,
        "tenant": "ten_a",
        "instance": "x",
    }
    place: dict[str, Any] = {
        "request_id": recorder.new_request_id(),
        "endpoint": "/v1/completions",
        "received_at": now,
        "admitted_at": now,
    }
    return UsageData(**(common | place | {"outcome": "completed", "accuracy": "exact"} | fields))


def decision(recorder, **fields) -> RequestData:
    """Return a request event's data, its id and place filled in."""
    now = utc_now()
    common: dict[str, Any] = {
        "producer": recorder.producer,
        "epoch": recorder.epoch,
        "sequence": 1,
        "tenant": "ten_a",
        "instance": "x",
    }
    place: dict[str, Any] = {"request_id": recorder.new_request_id(), "endpoint": "/v1/completions", "received_at": now}
    return RequestData(**(common | place | {"decision": "denied"} | fields))


class Ledger:
    """Stands in for the stream: takes every event once and acknowledges each epoch up to its first gap."""

    def __init__(self, address: str) -> None:
        self.records: list[Any] = []
        self.events: dict[tuple[str, int], bytes] = {}
        self.repeats = 0
        self.acknowledges = True
        self._address = address
        self._offsets: dict[object, int] = {}

    async def __aenter__(self) -> "Ledger":
        self.consumer = AIOKafkaConsumer(
            topics.REQUEST, topics.USAGE, bootstrap_servers=self._address, auto_offset_reset="earliest"
        )
        self.producer = AIOKafkaProducer(bootstrap_servers=self._address)
        await self.consumer.start()
        await self.producer.start()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.consumer.stop()
        await self.producer.stop()

    @property
    def size(self) -> int:
        return sum(map(len, self.events.values()))

    def contiguous(self, epoch: str) -> int:
        number = 0
        while (epoch, number + 1) in self.events:
            number += 1
        return number

    async def acknowledge(self, epoch: str) -> None:
        data = AckData(producer="weighbridge/x", epoch=epoch, contiguous=self.contiguous(epoch))
        name = f"{epoch}.{data.contiguous}"
        event = Event(
            specversion="1.0", id=name, source="stream", type=topics.ACK, subject="x", time=utc_now(), data=data
        )
        await self.producer.send_and_wait(topics.ACK, events.encode(event))

    async def until(self, condition, seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                assert not self._task.done(), self._task.result()
                await asyncio.sleep(0.02)

    async def _run(self) -> None:
        while True:
            taken = await self.consumer.getmany(timeout_ms=100)
            touched = set()
            for record in [record for records in taken.values() for record in records]:
                self.records.append(record)
                for raw in events.split(record.value):
                    kind = topics.event_type(msgspec.json.decode(raw)["type"])
                    data = msgspec.json.decode(raw, type=kind).data
                    self.repeats += (data.epoch, data.sequence) in self.events
                    self.events.setdefault((data.epoch, data.sequence), raw)
                    touched.add(data.epoch)
            for epoch in touched if self.acknowledges else ():
                await self.acknowledge(epoch)
