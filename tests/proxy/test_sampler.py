"""What the workers share with the one that samples."""

import subprocess
import sys

from prometheus_client import CollectorRegistry

from contracts import metrics
from contracts.clock import utc_now
from proxy.queue.gate import Gate
from proxy.sampler import EVERY_SOON, Sampler, _shared_counts
from proxy.settings import ProxySettings
from proxy.status import METRICS_VARIABLE
from proxy.upstream_metrics import EngineMetrics

COUNT = """
from prometheus_client import CollectorRegistry
from contracts import metrics
registry = CollectorRegistry()
metrics.IN_FLIGHT.gauge(registry).set({running})
metrics.QUEUED.gauge(registry).set({waiting})
"""


def test_the_counts_of_all_workers_are_added_up(tmp_path):
    assert _shared_counts(tmp_path) == {}
    for running, waiting in ((3, 1), (4, 0)):
        code = COUNT.format(running=running, waiting=waiting)
        subprocess.run([sys.executable, "-c", code], env={METRICS_VARIABLE: str(tmp_path)}, check=True)
    (tmp_path / "gauge_livesum_1.db").touch()  # of a worker that begins
    assert _shared_counts(tmp_path) == {"weighbridge_inflight_requests": 7, "weighbridge_queued_requests": 1}


async def test_what_the_engine_says_of_waiting_requests_becomes_the_capacity_of_the_queue(tmp_path, monkeypatch):
    monkeypatch.setenv(METRICS_VARIABLE, str(tmp_path))
    seen = EngineMetrics(running=8, waiting=24)

    async def look(_sampler):
        return True, seen

    monkeypatch.setattr(Sampler, "_look", look)
    for given, learned in ((0, 9), (5, 5)):
        gate = Gate.alone(given, 10, 1)
        gate._board.words[gate._mine] = 32  # let in while there was no limit
        settings = ProxySettings(upstream="http://127.0.0.1:1", key_pepper="a pepper of sixteen bytes", capacity=given)
        sampler = Sampler(settings.plain(), metrics.UPSTREAM_UP.gauge(CollectorRegistry()), utc_now, gate)
        await sampler._sample()
        await sampler._sample()
        assert gate.capacity == learned
        assert sampler._pause == EVERY_SOON
