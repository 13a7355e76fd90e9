"""A stream worker that kills itself: `python -m tests.stream.killed_worker URL RECORDS OUTBOX EFFECTS`.

It stores the records of the file RECORDS and appends what it publishes to OUTBOX. After EFFECTS effects it sends itself
SIGKILL; with more than there are it comes to the end and prints how many there were.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from stream.clickhouse import ClickHouse
from stream.decode import Record
from stream.publish import Message
from tests.stream.ledgers import Driver, Remembered

EFFECTS = ("insert", "exclude_conflicts", "roll_up", "ranges")


class Countdown:
    def __init__(self, left: int) -> None:
        self.left, self.done = left, 0

    def after(self) -> None:
        self.done += 1
        if self.done >= self.left:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(self, effect: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*args: Any, **options: Any) -> Any:
            result = await effect(*args, **options)
            self.after()
            return result

        return counted


class Outbox(Remembered):
    """Writes to a file, which stays when the process is killed."""

    def __init__(self, path: Path, countdown: Countdown) -> None:
        super().__init__()
        self.path, self.countdown = path, countdown

    async def publish(self, messages: Iterable[Message]) -> None:
        with self.path.open("ab") as file:
            for message in messages:
                file.write(msgspec.json.encode(message) + b"\n")
        self.countdown.after()


def write_records(path: Path, records: Iterable[Record]) -> None:
    path.write_bytes(msgspec.json.encode([(r.topic, r.partition, r.offset, r.value or b"") for r in records]))


def read_records(path: Path) -> list[Record]:
    fields = msgspec.json.decode(path.read_bytes(), type=list[tuple[str, int, int, bytes]])
    return [Record(*field) for field in fields]


def read_outbox(path: Path) -> Remembered:
    remembered = Remembered()
    lines = path.read_bytes().splitlines() if path.exists() else []
    remembered.messages = [msgspec.json.decode(line, type=Message) for line in lines]
    return remembered


async def main(url: str, records: Path, outbox: Path, effects: int) -> None:
    countdown = Countdown(effects)
    store = await ClickHouse.connect(url)
    for name in EFFECTS:
        setattr(store, name, countdown.counting(getattr(store, name)))
    publisher = Outbox(outbox, countdown)
    driver = Driver(store, f"writer-{os.getpid()}", publisher)
    await driver.store(*read_records(records))
    await store.close()
    print(countdown.done)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
