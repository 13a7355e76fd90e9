"""The end of a request whose process died, written from what is left of it."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from contracts.events import Event, RequestData, UsageData
from proxy import envelope
from proxy.lost import lost_event
from proxy.spool.header import Header
from proxy.spool.record import Kind, Record

NOW = datetime(2026, 10, 5, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 10, 5, 13, 0, tzinfo=UTC)
HEADER = Header("weighbridge/x", "e" * 32, 1)
COMMON: dict[str, Any] = {
    "producer": HEADER.producer,
    "epoch": HEADER.epoch,
    "sequence": 7,
    "request_id": "r1",
    "tenant": "ten_a",
    "team": "team_b",
    "key": "key_1",
    "tags": {"project": "search"},
    "instance": "x",
    "model": "tiny",
    "endpoint": "/v1/completions",
    "dialect": "completions",
    "stream": True,
    "received_at": NOW,
    "admitted_at": NOW,
    "user_agent": "a browser",
}


def lost(kind: int, body: bytes) -> Event[UsageData]:
    record = Record(kind, 7, b"r1", b"ten_a", body, 0)
    return msgspec.json.decode(lost_event(HEADER, record, 9, LATER), type=Event[UsageData])


@pytest.mark.parametrize("kind", [Kind.ADMITTED, Kind.OPEN])  # OPEN: it was carried into a later segment
def test_of_a_request_that_was_only_admitted_nothing_is_known_but_who_sent_it(kind):
    admitted = RequestData(decision="admitted", **COMMON)
    event = lost(kind, envelope.Envelopes(HEADER.producer).request(admitted, NOW))
    assert (event.id, event.type, event.subject, event.time) == ("r1.usage", "weighbridge.usage.v1", "ten_a", LATER)
    assert event.data == UsageData(outcome="proxy_lost", accuracy="unknown", **(COMMON | {"sequence": 9}))


def test_the_last_counts_are_an_estimate():
    draft = UsageData(outcome="completed", accuracy="exact", output_tokens=5, inputs=1, **COMMON)
    data = lost(Kind.OPEN, envelope.Envelopes(HEADER.producer).usage(draft, NOW)).data
    assert (data.outcome, data.accuracy, data.output_tokens, data.inputs) == ("proxy_lost", "estimated", 5, 1)
    assert (data.sequence, data.tags, data.admitted_at) == (9, {"project": "search"}, NOW)


def test_what_is_no_event_is_refused():
    with pytest.raises(msgspec.DecodeError):
        lost(Kind.OPEN, b'{"request_id":"r1"}')
