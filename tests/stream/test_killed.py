"""`kill -9` after any effect of a batch: whoever reads the batch again completes it, and no total is wrong."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts import topics
from stream.clickhouse import ClickHouse
from stream.decode import Record
from tests.servers import ROOT
from tests.stream.conftest import ClickHouseServer, empty, rows
from tests.stream.factory import Producer, record
from tests.stream.killed_worker import read_outbox, write_records
from tests.stream.ledgers import views

MORE_THAN_THERE_ARE = 1000


def batch() -> list[Record]:
    producer = Producer()
    usage = [producer.usage(tenant=f"ten_{n % 3}") for n in range(6)]
    return [
        record(*usage),
        record(*(producer.request() for _ in range(3)), offset=1),
        Record(topics.USAGE, 0, 2, b"no event"),
        record(producer.usage(), usage[0], offset=3),
    ]


def work(server: ClickHouseServer, folder: Path, effects: int) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tests.stream.killed_worker", server.url]
    files = [str(folder / "records"), str(folder / "outbox")]
    return subprocess.run([*command, *files, str(effects)], cwd=ROOT, capture_output=True, check=False, timeout=120)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_killed_after_any_effect(
    clickhouse_server: ClickHouseServer, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    write_records(tmp_path / "records", batch())
    whole = work(clickhouse_server, tmp_path, MORE_THAN_THERE_ARE)
    assert whole.returncode == 0, whole.stderr
    effects = int(whole.stdout.splitlines()[-1])
    assert effects >= 10
    right = await views(clickhouse)
    for count in range(1, effects + 1):
        await empty(clickhouse)
        (tmp_path / "outbox").unlink(missing_ok=True)
        killed = work(clickhouse_server, tmp_path, count)
        assert killed.returncode == -signal.SIGKILL
        await assert_no_promise_is_broken(clickhouse, tmp_path)
        again = work(clickhouse_server, tmp_path, MORE_THAN_THERE_ARE)
        assert again.returncode == 0, again.stderr
        assert await views(clickhouse) == right, f"killed after effect {count} of {effects}"
        assert read_outbox(tmp_path / "outbox").acked() == {("proxy-1", "epoch-1"): 10}


async def assert_no_promise_is_broken(store: ClickHouse, folder: Path) -> None:
    """What was acknowledged is in the ledger, and what the roll-ups count is too."""
    acked: dict[Any, int] = read_outbox(folder / "outbox").acked()
    sequences = await rows(store, "SELECT sequence FROM usage UNION DISTINCT SELECT sequence FROM requests")
    held = {sequence for (sequence,) in sequences}
    assert set(range(1, acked.get(("proxy-1", "epoch-1"), 0) + 1)) <= held
    ((counted, stored),) = await rows(store, "SELECT (SELECT sum(requests) FROM usage_minute), count() FROM usage")
    assert (counted or 0) in (0, stored)
