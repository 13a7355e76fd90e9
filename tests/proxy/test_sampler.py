"""What the workers share with the one that samples."""

import subprocess
import sys

from proxy.sampler import _shared_counts
from proxy.status import METRICS_VARIABLE

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
