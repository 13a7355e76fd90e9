import asyncio
import tracemalloc
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from contracts import events, metrics, topics
from contracts.clock import utc_now
from proxy import publisher as publishing
from proxy.acks import AckReader
from proxy.batches import RECORD_BYTES, pack, partition_of
from proxy.journal import Journal
from proxy.publisher import Publisher
from proxy.recorder import SpoolRecorder, new_epoch
from proxy.spool import adoption, backlog
from proxy.spool.header import Header
from proxy.spool.record import Kind, Record
from tests.proxy import parts
from tests.proxy.parts import Ledger, decision, usage


@pytest.fixture
def kafka(tmp_path):
    with parts.kafka(tmp_path) as server:
        yield server


class Side:
    """The recording side of a proxy, without a proxy."""

    def __init__(self, home, address, window=None):
        self.spool = adoption.create(home, Header("weighbridge/x", new_epoch(), 1), 1 << 27)
        self.recorder = SpoolRecorder(self.spool, allow_when_full=False)
        self.journal = Journal(home, self.spool, utc_now)
        connection = {"bootstrap_servers": address}
        counter = metrics.PUBLISHED.counter(CollectorRegistry())
        self.publisher = Publisher(connection, self.journal, window, counter)
        self.acks = AckReader(connection, self.journal.acknowledge)

    def record(self, count, **fields):
        for _ in range(count):
            self.recorder.closed(usage(self.recorder, **fields), utc_now())


@asynccontextmanager
async def recording(home, address, window=None):
    side = Side(home, address, window)
    stop = asyncio.Event()
    flushing = asyncio.create_task(side.journal.keep_flushing(stop))
    tasks = [
        asyncio.create_task(part) for part in (side.journal.keep_adopting(), side.publisher.run(), side.acks.run())
    ]
    try:
        yield side
    finally:
        stop.set()
        await flushing
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        side.journal.close()


async def until(condition, seconds=120):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_events_arrive_and_leave_the_spool_when_acknowledged(tmp_path, kafka):
    async with Ledger(kafka.address) as ledger, recording(tmp_path / "spool", kafka.address) as side:
        for number in range(50):
            side.recorder.decided(decision(side.recorder, tenant=f"ten_{number % 7}"), utc_now())
            side.record(1, tenant=f"ten_{number % 7}", output_tokens=number)
        await ledger.until(lambda: len(ledger.events) == 100)
        assert side.spool.epoch in {epoch for epoch, _ in ledger.events}
        await until(lambda: side.journal.idle)
        for record in ledger.records:
            [(name, kind)] = record.headers
            assert name == "content-type"
            inside = [msgspec.json.decode(raw) for raw in events.split(record.value)]
            assert {each["type"] for each in inside} == {record.topic}
            assert {partition_of(each["subject"].encode(), 4) for each in inside} == {record.partition}
            if kind == events.CONTENT_TYPE.encode():
                assert record.key == inside[0]["partitionkey"].encode()
            else:
                assert kind == events.BATCH_CONTENT_TYPE.encode()
                assert len(inside) > 1
                assert record.key is None
        await asyncio.sleep(0.1)
        side.record(1)
        await ledger.until(lambda: len(ledger.events) == 101)
        assert ledger.records[-1].key == b"ten_a"
        await until(lambda: side.journal.idle)
        assert ledger.repeats == 0
    assert not list((tmp_path / "spool").iterdir())


async def test_kafka_away_at_the_start_delays_nothing_but_the_delivery(tmp_path, kafka):
    kafka.kill()
    async with recording(tmp_path / "spool", kafka.address) as side:
        side.record(20)
        await asyncio.sleep(1.0)
        assert not side.publisher.connected
        await asyncio.to_thread(kafka.start)
        async with Ledger(kafka.address) as ledger:
            await ledger.until(lambda: len(ledger.events) == 20)
            await until(lambda: side.journal.idle)


async def test_a_broker_that_lost_everything_gets_it_again(tmp_path, kafka, monkeypatch):
    monkeypatch.setattr(backlog, "RESEND_AFTER", 0.5)
    monkeypatch.setattr(publishing, "_ROUND_TIMEOUT", 2.0)
    async with recording(tmp_path / "spool", kafka.address) as side:
        side.record(30)
        await until(lambda: side.spool.backlog.in_flight)
        await asyncio.to_thread(kafka.kill)
        side.record(30)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(kafka.start)
        async with Ledger(kafka.address) as ledger:
            await ledger.until(lambda: len(ledger.events) == 60, 60)
            await until(lambda: side.journal.idle)


async def test_what_the_ledger_does_not_acknowledge_is_sent_again_until_it_does(tmp_path, kafka, monkeypatch):
    monkeypatch.setattr(backlog, "RESEND_AFTER", 0.3)
    async with Ledger(kafka.address) as ledger, recording(tmp_path / "spool", kafka.address) as side:
        ledger.acknowledges = False
        side.record(3)
        await ledger.until(lambda: ledger.repeats >= 6)
        ledger.acknowledges = True
        await until(lambda: side.journal.idle)
        repeats = ledger.repeats
        await asyncio.sleep(1.0)
        assert ledger.repeats == repeats


async def test_no_more_than_the_window_is_ahead_of_the_ledger(tmp_path, kafka):
    window = 200_000
    async with Ledger(kafka.address) as ledger, recording(tmp_path / "spool", kafka.address, window) as side:
        ledger.acknowledges = False
        side.record(1000, user_agent="x" * 1000)
        await ledger.until(lambda: ledger.size > window / 3)
        await asyncio.sleep(0.5)
        assert window / 3 < ledger.size <= window
        while ledger.contiguous(side.spool.epoch) < 1000:
            before = ledger.size
            await ledger.acknowledge(side.spool.epoch)
            await ledger.until(lambda before=before: ledger.size > before or len(ledger.events) == 1000)
            assert side.spool.backlog.in_flight <= window
        ledger.acknowledges = True
        await ledger.acknowledge(side.spool.epoch)
        await until(lambda: side.journal.idle)
        assert ledger.repeats == 0


async def test_a_dead_siblings_spool_is_adopted_and_delivered(tmp_path, kafka, monkeypatch):
    monkeypatch.setattr("proxy.journal.ADOPT_EVERY", 0.2)
    home = tmp_path / "spool"
    async with Ledger(kafka.address) as ledger, recording(home, kafka.address) as side:
        dead = Side(home, kafka.address)
        dead.record(5)
        lost = usage(dead.recorder, output_tokens=7)
        dead.recorder.progressed(lost.request_id, lost, utc_now())
        await dead.journal.flush()
        dead.journal._thread.shutdown()
        dead.spool.close()
        await ledger.until(lambda: len(ledger.events) == 6)
        event = msgspec.json.decode(ledger.events[dead.spool.epoch, 6], type=topics.event_type(topics.USAGE))
        assert (event.id, event.data.outcome, event.data.accuracy) == (
            f"{lost.request_id}.usage",
            "proxy_lost",
            "estimated",
        )
        assert event.data.admitted_at == lost.admitted_at
        await until(lambda: not (home / dead.spool.epoch).exists())
        assert side.journal.idle


async def test_memory_stays_small_while_kafka_is_away(tmp_path):
    async with recording(tmp_path / "spool", "127.0.0.1:1") as side:
        tracemalloc.start()
        try:
            for _ in range(300):
                side.record(100, user_agent="x" * 1000)
                await side.journal.flush()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert side.spool.bytes_used > 30_000_000
        assert held < backlog.KEPT_BYTES + 1_500_000


ENTRIES = st.lists(st.integers(0, 300_000), max_size=30).map(
    lambda sizes: [Record(Kind.USAGE, at, b"", b"t", b"%d" % at + b" " * size, 0) for at, size in enumerate(sizes, 1)]
)


@given(ENTRIES)
def test_records_hold_all_events_in_order_and_are_bounded(entries):
    records = list(pack(entries))
    assert [int(raw) for _, value, headers in records for raw in bodies(value, headers)] == [
        entry.sequence for entry in entries
    ]
    for key, value, headers in records:
        single = headers[0][1] == events.CONTENT_TYPE.encode()
        assert (key == b"t") == single
        assert len(value) <= RECORD_BYTES + 2 or single


def bodies(value, headers):
    return [value] if headers[0][1] == events.CONTENT_TYPE.encode() else events.split(value)
