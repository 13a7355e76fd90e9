"""The stream as a process, between the embedded Kafka, ClickHouse and Redis: what is sent arrives once, whatever dies."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from redis.asyncio import Redis

from contracts import events, redis_keys, topics
from contracts.clock import utc_now
from stream.app import EXIT_ABANDONED
from stream.clickhouse import ClickHouse
from tests.servers import ROOT, free_port, kafka_broker, listens, missing, wait_until
from tests.stream.conftest import ClickHouseServer, RedisServer, rows
from tests.stream.factory import Producer, sample

RUN = "from contracts.settings import load; from stream.settings import StreamSettings; from stream.service import run;"


class Process:
    """A part of the system that a test may kill and start again under the same address."""

    def __init__(self, command: list[str], log: Path, ready: Callable[[], bool], environment: dict[str, str]) -> None:
        self.command, self.log, self.ready = command, log, ready
        self.environment = {**os.environ, **environment}
        self.start()

    def start(self) -> None:
        self.launch()
        wait_until(self.ready, 120, f"{self.command}; see {self.log}")

    def launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log, env=self.environment)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Parts:
    def __init__(self, folder: Path, clickhouse: ClickHouseServer, reread: bool, apache: str | None = None) -> None:
        self.clickhouse, self.folder, self.reread = clickhouse, folder, reread
        self.redis = RedisServer(folder)
        port = free_port()
        self.bootstrap = apache or f"127.0.0.1:{port}"
        if apache is None:
            command = [sys.executable, "-m", "embedded.kafka", "--port", str(port)]
            self.kafka = Process(command, folder / "kafka.log", lambda: listens(port), {})
        self.admin = f"127.0.0.1:{free_port()}"
        self.stream = Process([sys.executable, "-c", f"{RUN} run(load(StreamSettings))"], *self._stream())

    def _stream(self) -> tuple[Path, Callable[[], bool], dict[str, str]]:
        environment = {
            "WEIGHBRIDGE_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "WEIGHBRIDGE_CLICKHOUSE_URL": self.clickhouse.url,
            "WEIGHBRIDGE_REDIS_URL": self.redis.url,
            "WEIGHBRIDGE_STREAM_ADMIN": self.admin,
            "WEIGHBRIDGE_STREAM_SCALING_SECONDS": "0.3",
            "WEIGHBRIDGE_STREAM_REREAD": str(self.reread),
        }
        return self.folder / "stream.log", lambda: self.status("readyz") == 200, environment

    def status(self, page: str) -> int | None:
        try:
            with urllib.request.urlopen(f"http://{self.admin}/{page}", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def close(self) -> None:
        for part in (self.stream, getattr(self, "kafka", None), self.redis):
            if part is not None:
                part.kill()


@pytest.fixture
def reread() -> bool:
    """Whether the stream keeps no offsets, as on the embedded broker."""
    return True


@pytest.fixture
def parts(clickhouse: ClickHouse, clickhouse_server: ClickHouseServer, tmp_path: Path, reread: bool) -> Iterator[Parts]:
    found = Parts(tmp_path, clickhouse_server, reread)
    yield found
    found.close()


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator["Client"]:
    found = Client(parts)
    await found.open()
    yield found
    await found.close()


class Client:
    """A proxy's side of Kafka: sends events, again until they are acknowledged, as its spool would."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.producer = Producer()
        self.sent: list[events.Event[Any]] = []
        self.acked = 0

    async def open(self) -> None:
        self.kafka = AIOKafkaProducer(bootstrap_servers=self.parts.bootstrap)
        await self.kafka.start()
        self.acks = AIOKafkaConsumer(
            topics.ACK, bootstrap_servers=self.parts.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=100
        )
        await self.acks.start()

    async def close(self) -> None:
        await self.kafka.stop()
        await self.acks.stop()

    async def reopen(self) -> None:
        await self.close()
        await self.open()

    async def send(self, *sent: events.Event[Any], batched: bool = True) -> None:
        payloads = [events.encode(event) for event in sent]
        for value in [events.join(payloads)] if batched else payloads:
            await self.kafka.send_and_wait(sent[0].type, value, partition=len(self.sent) % 4)
        self.sent += [event for event in sent if event.type != topics.INSTANCE and event not in self.sent]

    async def usage(self, count: int = 5) -> None:
        made = [self.producer.usage(tenant=f"ten_{n % 3}", at=utc_now()) for n in range(count)]
        await self.send(*made)

    async def resend(self) -> None:
        """Send everything again, in single events."""
        await self.send(*self.sent, batched=False)

    async def all_acked(self) -> None:
        async with asyncio.timeout(120):
            while self.acked < len(self.sent):
                message = await self.acks.getone()
                self.acked = max(self.acked, msgspec.json.decode(message.value)["data"]["contiguous"])
        assert self.acked == len(self.sent)


async def assert_right(store: ClickHouse, client: Client) -> None:
    usage = [event for event in client.sent if event.type == topics.USAGE]
    ids = sorted(await rows(store, "SELECT id FROM usage"))
    assert ids == sorted((event.id,) for event in usage)
    assert await rows(store, "SELECT sum(requests), sum(output_tokens) FROM usage_day") == [
        (len(usage), 5 * len(usage))
    ]


async def eventually(store: ClickHouse, sql: str) -> list[tuple[Any, ...]]:
    async with asyncio.timeout(120):
        while not (found := await rows(store, sql)):
            await asyncio.sleep(0.1)
    return found


async def test_from_kafka_to_everywhere(parts: Parts, client: Client, clickhouse: ClickHouse) -> None:
    await client.usage()
    await client.send(*(client.producer.request(at=utc_now()) for _ in range(3)))
    await client.send(client.producer.usage(at=utc_now()), batched=False)
    await client.kafka.send_and_wait(topics.USAGE, b"no event", partition=0)
    await client.kafka.send_and_wait(topics.REQUEST, None, partition=0, key=b"a tombstone")
    await client.send(sample(at=utc_now(), in_flight=3, queued=1, waiting=2))
    await client.all_acked()
    await assert_right(clickhouse, client)
    assert await rows(clickhouse, "SELECT count() FROM requests") == [(3,)]
    dead = "SELECT arraySort(groupUniqArray(reason)) AS reasons FROM dead_letters HAVING length(reasons) = 2"
    assert await eventually(clickhouse, dead) == [(["broken_json", "empty"],)]
    signal_sql = "SELECT model, instances, in_flight, waiting FROM scaling_signals LIMIT 1"
    assert await eventually(clickhouse, signal_sql) == [("llama", 1, 3, 3)]
    assert await rows(clickhouse, "SELECT instance, in_flight FROM instance_samples") == [("gpu-1", 3)]
    await redis_shows(parts, "ten_0", 2)
    assert (parts.status("healthz"), parts.status("readyz"), parts.status("metrics")) == (200, 200, 200)
    parts.stream.process.send_signal(signal.SIGTERM)
    assert parts.stream.process.wait(120) == 0


async def redis_shows(parts: Parts, tenant: str, requests: int) -> None:
    key = redis_keys.day_usage(tenant, utc_now().date())
    async with Redis.from_url(parts.redis.url, decode_responses=True) as redis, asyncio.timeout(120):
        while await redis.hget(key, "requests") != str(requests):
            await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("reread", [True, False])
async def test_killed_and_stopped_under_way(parts: Parts, client: Client, clickhouse: ClickHouse) -> None:
    await client.usage()
    parts.stream.kill()
    await client.usage(50)
    parts.stream.start()
    await client.usage()
    await client.all_acked()
    parts.stream.process.send_signal(signal.SIGTERM)
    assert parts.stream.process.wait(120) == 0
    await client.usage(20)
    await client.resend()
    parts.stream.start()
    await client.all_acked()
    await assert_right(clickhouse, client)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_broker_that_forgot_everything(parts: Parts, client: Client, clickhouse: ClickHouse) -> None:
    await client.usage()
    await client.all_acked()
    parts.kafka.kill()
    parts.kafka.start()
    await client.reopen()
    await client.usage(7)
    code = await asyncio.to_thread(parts.stream.process.wait, 60)
    assert code in (1, EXIT_ABANDONED)
    parts.stream.start()
    await client.all_acked()
    await assert_right(clickhouse, client)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_clickhouse_and_redis_away(parts: Parts, client: Client, clickhouse: ClickHouse) -> None:
    parts.redis.kill()
    await client.usage()
    await client.all_acked()
    parts.clickhouse.kill()
    await client.usage(10)
    wait_until(lambda: parts.status("readyz") == 503, 120, "the stream to say that ClickHouse is away")
    parts.clickhouse.start()
    parts.redis.start()
    await client.all_acked()
    await assert_right(clickhouse, client)
    await redis_shows(parts, "ten_0", 6)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif("Apache Kafka (make kafka)" in missing(), reason="Apache Kafka is not installed: make kafka")
async def test_two_workers_share_and_take_over(
    clickhouse: ClickHouse, clickhouse_server: ClickHouseServer, tmp_path: Path
) -> None:
    """On a real broker: the embedded one has groups of one member."""
    with kafka_broker(tmp_path) as broker:
        parts = Parts(tmp_path, clickhouse_server, reread=False, apache=broker.address)
        port = free_port()
        environment = {**parts.stream.environment, "WEIGHBRIDGE_STREAM_ADMIN": f"127.0.0.1:{port}"}
        other = Process(parts.stream.command, parts.folder / "other.log", lambda: listens(port), environment)
        client = Client(parts)
        try:
            await client.open()
            await client.usage()
            wait_until(lambda: answers(port) and parts.status("readyz") == 200, 120, "both workers to have partitions")
            for _ in range(4):
                await client.usage()
            await client.all_acked()
            other.kill()
            for _ in range(4):
                await client.usage()
            await client.all_acked()
            await assert_right(clickhouse, client)
            assert parts.stream.process.poll() is None
        finally:
            await client.close()
            other.kill()
            parts.close()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_wrong_address_of_clickhouse_ends_the_start(tmp_path: Path) -> None:
    code = f"import stream.migrate as m; m.migrate.__defaults__ = (0.1,); {RUN} run(load(StreamSettings))"
    environment = {"WEIGHBRIDGE_CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}"}
    environment["WEIGHBRIDGE_STREAM_ADMIN"] = f"127.0.0.1:{free_port()}"
    command, variables = [sys.executable, "-c", code], {**os.environ, **environment}
    ended = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert b"WEIGHBRIDGE_CLICKHOUSE_URL" in ended.stderr
    assert b"Traceback" not in ended.stderr
