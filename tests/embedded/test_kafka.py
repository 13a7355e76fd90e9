"""The embedded broker with the clients that the services use."""

import asyncio
import subprocess
import sys
from pathlib import Path

import aiokafka
import pytest

from contracts import topics
from embedded import kafka as broker
from tests.embedded.conftest import serving
from tests.servers import ROOT, wait_until

FAUST_APP = """
import pathlib
import sys

import faust

app = faust.App(
    "smoke",
    broker="kafka://" + sys.argv.pop(),
    topic_allow_declare=False,
    topic_disable_leader=True,
    store="memory://",
    web_enabled=False,
)
topic = app.topic("faust-in", value_serializer="raw", key_serializer="raw")
seen = []


@app.agent(topic)
async def read(stream):
    async for batch in stream.take(10, within=0.2):
        seen.extend(batch)
        pathlib.Path("seen").write_bytes(b" ".join(seen))


app.main()
"""


@pytest.fixture
async def producer(kafka):
    """An idempotent producer, as the proxy's publisher is."""
    client = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.address, enable_idempotence=True, acks="all")
    await client.start()
    yield client
    await client.stop()


def group(kafka, name: str, *wanted: str) -> aiokafka.AIOKafkaConsumer:
    return aiokafka.AIOKafkaConsumer(
        *wanted,
        bootstrap_servers=kafka.address,
        group_id=name,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=2000,
        heartbeat_interval_ms=500,
    )


async def read(consumer: aiokafka.AIOKafkaConsumer, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(120):
        while len(found) < count:
            batches = await consumer.getmany(timeout_ms=200)
            found += [record.value for batch in batches.values() for record in batch]
    return found


async def test_it_advertises_the_port_that_was_asked_for(kafka, producer):
    (node,) = await broker_addresses(producer)
    assert node == kafka.address


async def broker_addresses(producer) -> list[str]:
    return [f"{node.host}:{node.port}" for node in producer.client.cluster.brokers()]


async def test_our_topics_are_there_from_the_start(producer):
    for topic in topics.DATA:
        assert len(await producer.partitions_for(topic)) == broker.PARTITIONS


async def test_records_arrive_once_and_in_order(kafka, producer):
    sent = [b"%d" % number for number in range(2000)]
    for value in sent:
        await producer.send("ordered", value, partition=0)
    await producer.flush()
    consumer = group(kafka, "ordered", "ordered")
    await consumer.start()
    try:
        assert await read(consumer, len(sent)) == sent
    finally:
        await consumer.stop()


@pytest.mark.parametrize("ending", ["stop", "crash"])
async def test_a_group_goes_on_where_it_committed(kafka, producer, ending):
    topic = f"group-{ending}"
    for number in range(40):
        await producer.send_and_wait(topic, b"%d" % number, partition=number % 4)
    first = group(kafka, topic, topic)
    await first.start()
    assert len(await read(first, 40)) == 40
    await first.commit()
    if ending == "crash":
        first._coordinator._group_instance_id = "gone"  # it says no farewell to the group
    await first.stop()
    second = group(kafka, topic, topic)
    await second.start()
    try:
        await producer.send_and_wait(topic, b"new", partition=3)
        assert await read(second, 1) == [b"new"]
    finally:
        await second.stop()


async def test_a_faust_agent_reads_everything(kafka, producer, tmp_path):
    for number in range(40):
        await producer.send_and_wait("faust-in", b"%d" % number, partition=number % 4)
    script = tmp_path / "smoke.py"
    script.write_text(FAUST_APP)
    command = [sys.executable, str(script), "worker", "--without-web", "-l", "error", kafka.address]
    with (
        (tmp_path / "faust.log").open("ab") as log,
        subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log) as worker,
    ):
        try:
            await asyncio.to_thread(wait_until, lambda: len(seen(tmp_path)) == 40, 60, f"Faust; see {log.name}")
        finally:
            worker.kill()
    assert {int(value) for value in seen(tmp_path)} == set(range(40))


def seen(folder: Path) -> list[bytes]:
    file = folder / "seen"
    return file.read_bytes().split() if file.exists() else []


async def test_a_producer_goes_on_after_the_broker_came_back_empty(tmp_path: Path):
    with serving("kafka", tmp_path) as server:
        client = aiokafka.AIOKafkaProducer(bootstrap_servers=server.address, enable_idempotence=True, acks="all")
        await client.start()
        try:
            await client.send_and_wait("again", b"before", partition=0)
            server.kill()
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(120):
                after = await client.send_and_wait("again", b"after", partition=0)
            assert after.offset == 0
        finally:
            await client.stop()


def test_a_taken_port_is_named(kafka):
    port = kafka.address.split(":")[1]
    second = subprocess.run(
        [sys.executable, "-m", "embedded.kafka", "--port", port], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert second.returncode == 2
    assert port in second.stderr.splitlines()[-1]
