"""Ten minutes of traffic whose every figure is known, as the stream would have stored it."""

from datetime import datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

MINUTES = 10
"""Minutes of traffic, each the same; see `_usage`."""


def fill(client: Client, start: datetime) -> None:
    """Store the traffic, from the minute `start` on."""
    minutes = [start + timedelta(minutes=minute) for minute in range(MINUTES)]
    _insert(client, "usage_events", [row for minute in minutes for row in _usage(minute)])
    _insert(client, "request_events", [row for minute in minutes for row in _requests(minute)])
    _insert(client, "usage_windows", [row for minute in minutes for row in _windows(minute)])
    signal = {"model": "llama", "instances": 2, "in_flight": 5, "waiting": 3, "kv_cache_usage": 0.5}
    _insert(client, "scaling_signal_rows", [{**signal, "as_of": minute} for minute in minutes])
    held = {"epoch": "e1", "writer": "w", "covered": 8, "stored_at": start}
    gap = {**held, "producer": "gappy", "ranges": [(1, 4), (7, 10)]}
    whole = {**held, "producer": "whole", "ranges": [(1, 8)]}
    _insert(client, "producer_sequences", [gap, whole])


def _insert(client: Client, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)


def _event(minute: datetime, number: int, **more: Any) -> dict[str, Any]:
    name = f"{minute:%H%M}-{number}"
    return {
        "id": name, "source": "proxy-1.0", "event_time": minute, "ingested_at": minute + timedelta(seconds=9),
        "stored_at": minute + timedelta(seconds=10), "content_hash": number, "producer": "proxy-1.0", "epoch": "e1",
        "sequence": number, "request_id": name, "instance": "gpu-1", "endpoint": "/v1/chat/completions",
        "received_at": minute, "status": 200, **more,
    }  # fmt: skip


def _usage(minute: datetime) -> list[dict[str, Any]]:
    """Six requests of Acme (2 s, first token after 0.5 s, 10 + 20 tokens), one of O'Neil that was cut, one that failed."""
    done = {"tenant": "acme", "model": "llama", "outcome": "completed", "accuracy": "exact"}
    cut = {"tenant": "o'neil", "model": "qwen", "outcome": "client_closed", "accuracy": "unknown"}
    failed = {**cut, "outcome": "upstream_error", "error_code": "upstream_unreachable", "status": 502, "model": None}
    nothing = {"input_tokens": None, "output_tokens": None, "first_token_at": None, "error_code": None}
    metered = {"input_tokens": 10, "output_tokens": 20, "first_token_at": minute + timedelta(seconds=0.5)}
    two, four = minute + timedelta(seconds=2), minute + timedelta(seconds=4)
    return [
        *(_event(minute, number, **{**nothing, **done, **metered, "last_byte_at": two}) for number in range(1, 7)),
        _event(minute, 7, **{**nothing, **cut, "last_byte_at": four}),
        _event(minute, 8, **{**nothing, **failed, "last_byte_at": None}),
    ]


def _requests(minute: datetime) -> list[dict[str, Any]]:
    """One denied without a key, one of O'Neil's that a shadow limit would have denied, one admitted."""
    return [
        _event(minute, 1, tenant="unassigned", model=None, decision="denied", code="invalid_api_key"),
        _event(minute, 2, tenant="o'neil", model="qwen", decision="would_deny", code="insufficient_quota"),
        _event(minute, 3, tenant="acme", model="llama", decision="admitted", code=None),
    ]


def _windows(minute: datetime) -> list[dict[str, Any]]:
    """The same usage, rolled up as the stream does: team, user, key, model, endpoint, instance, outcome, then the sums."""
    place = ("/v1/chat/completions", "gpu-1")
    acme = (None, None, None, "llama", *place, "completed", 6, 60, None, None, 120, None, 0)
    cut = (None, None, None, "qwen", *place, "client_closed", 1, None, None, None, None, None, 0)
    failed = (None, None, None, None, *place, "upstream_error", 1, None, None, None, None, None, 0)
    return [
        {"tenant": "acme", "minute": minute, "generation": 6, "groups": [acme]},
        {"tenant": "o'neil", "minute": minute, "generation": 2, "groups": [cut, failed]},
    ]
