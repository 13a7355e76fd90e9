"""Stands in for the stream: reads what the proxy publishes and acknowledges it, so that the spool behaves as in production.

    python -m benchmarks.ledger BOOTSTRAP

It stores nothing, so it costs little; a real ledger runs on other machines than the proxy.
"""

import signal
import sys
from collections import defaultdict

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from contracts import events, topics
from contracts.clock import rfc3339, utc_now

SOURCE = "urn:weighbridge:benchmark"


class Numbers(msgspec.Struct):
    """Of an event's data, what says where it stands."""

    producer: str
    epoch: str
    sequence: int


class Numbered(msgspec.Struct):
    """Of an event, its data."""

    data: Numbers


class Contiguity:
    """The highest sequence up to which nothing of an epoch is missing."""

    def __init__(self) -> None:
        self.reached = 0
        self._ahead: set[int] = set()

    def add(self, sequence: int) -> None:
        """Take note of an event; one that was seen before changes nothing."""
        if sequence <= self.reached:
            return
        self._ahead.add(sequence)
        while self.reached + 1 in self._ahead:
            self.reached += 1
            self._ahead.discard(self.reached)


def acknowledgement(producer: str, epoch: str, reached: int) -> bytes:
    """Return the event that says what is held of an epoch."""
    envelope = {
        "specversion": "1.0",
        "id": f"{epoch}-{reached}",
        "source": SOURCE,
        "type": topics.ACK,
        "subject": producer,
        "time": rfc3339(utc_now()),
        "datacontenttype": "application/json",
        "dataschema": topics.schema_id(topics.ACK),
        "data": {"producer": producer, "epoch": epoch, "contiguous": reached},
    }
    return msgspec.json.encode(envelope)


def run(bootstrap: str) -> None:
    """Acknowledge until the process is ended."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "benchmark", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, part) for topic in (topics.REQUEST, topics.USAGE) for part in range(4)])
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    seen: defaultdict[tuple[str, str], Contiguity] = defaultdict(Contiguity)
    told: dict[tuple[str, str], int] = {}
    decoder = msgspec.json.Decoder(Numbered)
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    while not stopped:
        for message in consumer.consume(200, timeout=0.05):
            if message.error() is None:
                for raw in events.split(message.value() or b""):
                    data = decoder.decode(raw).data
                    seen[data.producer, data.epoch].add(data.sequence)
        for (name, epoch), place in seen.items():
            if told.get((name, epoch)) != place.reached:
                told[name, epoch] = place.reached
                producer.produce(topics.ACK, acknowledgement(name, epoch, place.reached))
        producer.poll(0)
    consumer.close()


if __name__ == "__main__":
    run(sys.argv[1])
