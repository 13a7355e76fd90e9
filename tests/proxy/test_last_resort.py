"""A worker whose parts do not end when they are told to ends all the same."""

import asyncio
import os
import signal
import subprocess
import sys

from proxy import last_resort, status
from proxy.queue.shared import Shared
from proxy.settings import ProxySettings
from proxy.status import Start
from tests.servers import free_port

STUBBORN = """
import asyncio, sys
from proxy import worker
from proxy.key_changes import ChangeReader

async def run(self):
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

ChangeReader.run = run
worker.END_AFTER = 0.5
sys.exit(worker.main())
"""


async def test_a_task_that_loses_a_cancellation_ends_all_the_same(monkeypatch):
    monkeypatch.setattr(last_resort, "AGAIN_AFTER", 0.01)
    lost: list[int] = []

    async def forgetful():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if len(lost) == 3:
                    raise
                lost.append(1)

    tasks = [asyncio.create_task(forgetful()), asyncio.create_task(asyncio.sleep(3600))]
    await asyncio.sleep(0)
    await last_resort.end(tasks)
    assert all(task.cancelled() for task in tasks)
    assert len(lost) == 3


def test_a_worker_that_does_not_end_by_itself_ends_all_the_same(tmp_path):
    reading, writing = os.pipe()
    settings = ProxySettings(
        upstream=f"http://127.0.0.1:{free_port()}",
        key_pepper="a pepper of sixteen bytes",
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
        kafka_bootstrap_servers=f"127.0.0.1:{free_port()}",
        spool_dir=tmp_path / "spool",
        grace_seconds=0.5,
    )
    shared = Shared(instances=1, workers=1, length=settings.queue_length, capacity=0)
    listen = ("127.0.0.1", free_port())
    start = Start(settings.plain(), 1, listen, writing, os.getpid(), shared.files, shared.bells)
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(writing, *shared.files, *shared.bells),
        env={**os.environ, status.METRICS_VARIABLE: str(tmp_path)},
    )
    os.close(writing)
    shared.close()
    try:
        assert process.stdin is not None
        process.stdin.write(status.encode(start))
        process.stdin.close()
        process.stdin = None
        with os.fdopen(reading, "rb") as pipe:
            serves = pipe.readline()
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=120)
        assert serves, said
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert b"process did not end by itself" in said
    assert b"run() running at" in said, "it says what it waits for"
