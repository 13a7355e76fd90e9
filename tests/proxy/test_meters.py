from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from contracts.events import UsageData
from proxy.meters import Meters

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def usage(**changes: Any) -> UsageData:
    values: dict[str, Any] = {
        "producer": "p",
        "epoch": "e",
        "sequence": 1,
        "request_id": "r",
        "tenant": "t",
        "instance": "i",
        "endpoint": "/v1/completions",
        "received_at": NOW,
        "outcome": "completed",
        "accuracy": "exact",
        "status": 200,
        "served_model": "tiny",
        "last_byte_at": NOW + timedelta(seconds=0.3),
    }
    return UsageData(**(values | changes))


def test_sums_and_buckets() -> None:
    registry = CollectorRegistry()
    meters = Meters(registry)
    for seconds in (0.005, 0.3, 1000):
        meters.settle(usage(input_tokens=3, output_tokens=2, first_token_at=NOW + timedelta(seconds=seconds)))
    meters.settle(usage(served_model=None, status=None, outcome="client_closed", last_byte_at=None))
    meters.flush(2, 1)
    meters.settle(usage(input_tokens=4))
    meters.flush(5, 3)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    labels = {"endpoint": "/v1/completions"}
    assert value("weighbridge_requests_total", model="tiny", status="200", outcome="completed", **labels) == 4
    assert value("weighbridge_requests_total", model="unknown", status="None", outcome="client_closed", **labels) == 1
    assert value("weighbridge_tokens_total", model="tiny", type="input") == 13
    assert value("weighbridge_tokens_total", model="tiny", type="output") == 6
    assert value("weighbridge_tokens_total", model="unknown", type="input") is None
    assert value("weighbridge_request_duration_seconds_count", model="tiny") == 4
    first = "weighbridge_time_to_first_token_seconds"
    assert [
        value(f"{first}_bucket", model="tiny", le=bound) for bound in ("0.005", "0.25", "0.5", "300.0", "+Inf")
    ] == [1, 1, 2, 2, 3]
    assert value(f"{first}_sum", model="tiny") == 1000.305
    assert value("weighbridge_inflight_requests") == 5
    assert value("weighbridge_queued_requests") == 3
