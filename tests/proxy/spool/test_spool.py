import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts import topics
from contracts.clock import utc_now
from contracts.events import Event, UsageData
from proxy.lost import lost_event
from proxy.spool import adoption, record
from proxy.spool.header import Header
from proxy.spool.record import FINAL, Kind
from proxy.spool.segment import PAGE
from proxy.spool.spool import SpoolFullError

EPOCH = "a" * 32
SEGMENT = 16 * PAGE


@pytest.fixture
def spool(tmp_path):
    made: Any = adoption.create(tmp_path, Header("weighbridge/x", EPOCH, 1), 12 * SEGMENT, SEGMENT)
    yield made
    made.close()


def sync(spool, now=1.0):
    group = spool.group(now)
    if group is not None:
        group.sync()
        spool.durable(group)


def deliver(spool):
    sync(spool)
    spool.backlog.sent(spool.backlog.take(10**9, 1.0), 1.0)
    spool.backlog.acknowledge(spool.last_sequence, 1.0)
    spool.collect()


def events_of(source):
    entries = []
    for piece in [*source.backlog._sent, *source.backlog._unsent]:
        entries += [each for each in record.scan(piece.segment.read(piece.start, piece.end)) if each.kind in FINAL]
    return entries


def test_nothing_is_published_before_it_is_synced(spool):
    spool.append(Kind.REQUEST, b"1", b"t", b"body")
    group = spool.group(1.0)
    assert not spool.backlog
    group.sync()
    spool.durable(group)
    assert [entry.body for entry in events_of(spool)] == [b"body"]


def test_a_delivered_spool_leaves_no_folder(spool):
    for number in range(100):
        spool.append(Kind.REQUEST, b"%d" % number, b"t", b"x" * 1000)
    deliver(spool)
    spool.close()
    assert not spool.folder.exists()


@pytest.mark.parametrize("what", ["unsynced", "unacknowledged", "open", "admitted"])
def test_an_undelivered_spool_stays(spool, what):
    spool.append({"open": Kind.OPEN, "admitted": Kind.ADMITTED}.get(what, Kind.REQUEST), b"1", b"t", b"body")
    if what != "unsynced":
        sync(spool)
    if what == "admitted":
        deliver(spool)
    spool.close()
    assert spool.folder.exists()


def test_acknowledged_segments_go_oldest_first(spool):
    for number in range(100):
        spool.append(Kind.REQUEST, b"%d" % number, b"t", b"x" * 1000)
        sync(spool)
    used = spool.bytes_used
    assert used > 3 * SEGMENT
    spool.backlog.acknowledge(50, 2.0)
    spool.collect()
    assert SEGMENT < spool.bytes_used < used
    spool.backlog.acknowledge(100, 2.0)
    spool.collect()
    assert spool.bytes_used == SEGMENT


@pytest.mark.parametrize("kind", [Kind.ADMITTED, Kind.OPEN])
def test_a_running_request_keeps_its_segment_until_its_end_is_synced(spool, kind):
    spool.append(kind, b"long", b"t", b"draft")
    while spool.bytes_used < 3 * SEGMENT:
        spool.append(Kind.REQUEST, b"r", b"t", b"x" * 1000)
    deliver(spool)
    assert spool.bytes_used == 3 * SEGMENT
    spool.append(Kind.USAGE, b"long", b"t", b"end")
    spool.collect()
    assert spool.bytes_used == 3 * SEGMENT
    deliver(spool)
    assert spool.bytes_used == SEGMENT


@pytest.mark.parametrize("kind", [Kind.ADMITTED, Kind.OPEN])
def test_a_draft_that_holds_up_many_segments_is_carried_on(spool, kind):
    spool.append(kind, b"long", b"t", b"draft")
    for _ in range(1000):
        spool.append(Kind.REQUEST, b"r", b"t", b"x" * 1000)
        deliver(spool)
    assert spool.bytes_used <= 6 * SEGMENT
    spool.close()
    heir = adoption.adopt(spool.folder, lambda _header, draft, _sequence, _now: b"lost " + draft.body, utc_now())
    assert [entry.body for entry in events_of(heir)][-1] == b"lost draft"
    assert heir is not None
    heir.close()


def test_it_refuses_requests_while_it_can_still_end_those_that_run(tmp_path):
    spool = adoption.create(tmp_path, Header("weighbridge/x", EPOCH, 1), 64 * SEGMENT, SEGMENT)
    number = 0
    while not spool.full():
        spool.append(Kind.ADMITTED, b"%d" % number, b"t", b"x" * 1500)
        number += 1
        sync(spool)
    assert number > 100
    for each in range(number):
        spool.append(Kind.USAGE, b"%d" % each, b"t", b"x" * 1800)
    assert spool.bytes_used <= 64 * SEGMENT
    with pytest.raises(SpoolFullError):  # noqa: PT012
        for _ in range(10**5):
            spool.append(Kind.REQUEST, b"r", b"t", b"x" * 1500)
    sync(spool)
    assert len(events_of(spool)) == spool.last_sequence
    deliver(spool)
    assert not spool.full()
    spool.close()


def test_a_record_that_no_segment_holds_is_refused(spool):
    with pytest.raises(SpoolFullError):
        spool.append(Kind.REQUEST, b"r", b"t", b"x" * SEGMENT)
    assert spool.last_sequence == 0


def test_a_full_disk_refuses_requests_and_never_kills(spool, monkeypatch):
    real, full = os.posix_fallocate, [True]

    def allocate(*arguments):
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with pytest.raises(SpoolFullError):  # noqa: PT012
        while True:
            spool.append(Kind.REQUEST, b"r", b"t", b"x" * 1000)
    written = spool.last_sequence
    assert spool.full()
    full[0] = False
    spool.prepare()
    spool.append(Kind.REQUEST, b"r", b"t", b"x" * 1000)
    assert spool.last_sequence == written + 1
    assert not spool.full()
    sync(spool)
    assert len(events_of(spool)) == written + 1


def _adopt_and_wait(folder, answers, go):
    go.wait()
    heir = adoption.adopt(folder, lost_event, utc_now())
    answers.put(heir is not None)
    time.sleep(120)  # until it is killed: the heir holds the lock as long as it lives


def test_of_two_heirs_one_wins_and_its_death_frees_the_spool(spool):
    spool.append(Kind.REQUEST, b"1", b"t", b"body")
    sync(spool)
    assert adoption.adopt(spool.folder, lost_event, utc_now()) is None, "its own process holds it"
    spool.close()
    context = multiprocessing.get_context("fork")
    answers, go = context.Queue(), context.Event()
    heirs = [context.Process(target=_adopt_and_wait, args=(spool.folder, answers, go)) for _ in range(2)]
    for each in heirs:
        each.start()
    go.set()
    try:
        assert sorted([answers.get(timeout=120), answers.get(timeout=120)]) == [False, True]
        assert adoption.adopt(spool.folder, lost_event, utc_now()) is None
    finally:
        for each in heirs:
            each.kill()
            each.join()
    heir = adoption.adopt(spool.folder, lost_event, utc_now())
    assert [entry.body for entry in events_of(heir)] == [b"body"]
    assert heir is not None
    heir.close()


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_of_a_writing_process_loses_nothing(tmp_path, seed):
    epoch = f"{seed:032x}"
    writer = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("writer.py"), tmp_path, epoch, str(16 * PAGE)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline()]
        time.sleep(random.Random(seed).uniform(0.0, 0.4))
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    opened = {line.split()[1] for line in said if line.startswith("opened") and line.endswith("\n")}
    closed = {line.split()[1] for line in said if line.startswith("closed") and line.endswith("\n")}
    heir = adoption.adopt(tmp_path / epoch, lost_event, utc_now())
    found = events_of(heir)
    assert [entry.sequence for entry in found] == list(range(1, len(found) + 1))
    decode = msgspec.json.Decoder(Event[UsageData]).decode
    usage = [decode(entry.body).data for entry in found if entry.kind == Kind.USAGE]
    assert [decode(entry.body).data.sequence for entry in found if entry.kind == Kind.USAGE] == [
        entry.sequence for entry in found if entry.kind == Kind.USAGE
    ]
    by_request = {each.request_id: each for each in usage}
    assert len(by_request) == len(usage), "one request, one usage event"
    assert opened <= by_request.keys()
    assert all(by_request[each].outcome == "completed" for each in closed)
    lost = [each for each in usage if each.outcome == "proxy_lost"]
    assert lost
    assert {(each.accuracy, each.output_tokens) for each in lost} <= {("estimated", 5), ("unknown", None)}
    assert all(each.admitted_at is not None for each in lost)
    assert topics.event_type(topics.USAGE) == Event[UsageData]
    assert heir is not None
    heir.close()
