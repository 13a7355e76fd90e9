"""Every record becomes events or dead letters with a reason; nothing raises, nothing is read as zero."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import events, topics
from stream.decode import Dead, Policy, Record, decode
from tests.stream.factory import NOON, Producer, record, sample

NOW = NOON + timedelta(minutes=1)
GOOD = events.encode(Producer().usage())


def read(value: bytes | None, topic: str = topics.USAGE) -> list[Any]:
    return list(decode(Record(topic, 1, 7, value), NOW, Policy()))


def changed(**fields: Any) -> bytes:
    """A good usage event with fields of its data replaced; `...` removes one, dotted names are the envelope's."""
    event = msgspec.json.decode(GOOD)
    for name, value in fields.items():
        place, key = (event, name.removeprefix("envelope_")) if name.startswith("envelope_") else (event["data"], name)
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return msgspec.json.encode(event)


@pytest.mark.parametrize("batched", [True, False])
def test_reads_single_and_batched_events(batched: bool) -> None:
    event = Producer().usage()
    assert list(decode(record(event, batched=batched), NOW, Policy())) == [event]


def test_reads_each_topic_as_its_own_type() -> None:
    for event in (Producer().usage(), Producer().request(admitted_at=None, decision="denied"), sample()):
        assert list(decode(record(event), NOW, Policy())) == [event]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "broken_json"),
        (b"\xff\xfe", "broken_json"),
        (b"{", "broken_json"),
        (b"[{]", "broken_json"),
        (GOOD[:-1], "broken_json"),
        (b"17", "invalid"),
        (b"null", "invalid"),
        (b"{}", "unknown_version"),
        (changed(envelope_specversion="0.3"), "unknown_version"),
        (changed(envelope_type="weighbridge.usage.v2"), "unknown_version"),
        (changed(envelope_type="weighbridge.request.v1"), "wrong_type"),
        (events.encode(Producer().request()), "wrong_type"),
        (changed(envelope_id=...), "invalid"),
        (changed(envelope_subject="ten_b"), "invalid"),
        (changed(input_tokens=-1), "invalid"),
        (changed(output_tokens=10**13), "invalid"),
        (changed(output_tokens=1.5), "invalid"),
        (changed(input_tokens="10"), "invalid"),
        (changed(sequence=0), "invalid"),
        (changed(status=10**30), "invalid"),
        (changed(status=-1), "invalid"),
        (changed(upstream_status=70000), "invalid"),
        (changed(outcome="vanished"), "invalid"),
        (changed(admitted_at=...), "invalid"),
        (changed(received_at="2026-11-20T12:00:00"), "invalid"),
        (changed(admitted_at="2026-11-20T12:06:01Z"), "future_time"),
        (changed(last_byte_at="9999-12-31T23:59:59Z"), "future_time"),
        (changed(envelope_time="2027-01-01T00:00:00Z"), "future_time"),
        (changed(admitted_at="2026-10-16T12:00:59Z"), "too_old"),
        (changed(received_at="0001-01-01T00:00:00Z"), "too_old"),
    ],
)
def test_refuses(value: bytes | None, reason: str) -> None:
    (dead,) = read(value)
    assert isinstance(dead, Dead)
    assert (dead.reason, dead.payload) == (reason, value or b"")
    assert dead.detail


def test_time_limits_are_exact() -> None:
    policy = Policy()
    for moment in (NOW + policy.ahead, NOW - policy.horizon):
        event = Producer().usage(
            at=moment, last_byte_at=None, first_token_at=None, first_byte_at=None, forwarded_at=None
        )
        assert list(decode(record(event), NOW, policy)) == [event]


def test_an_engine_may_run_longer_than_the_horizon() -> None:
    event = sample(engine_started_at=NOON - timedelta(days=300))
    assert list(decode(record(event), NOW, Policy())) == [event]


def test_one_bad_event_does_not_spoil_its_batch() -> None:
    producer = Producer()
    first, last = producer.usage(), producer.usage()
    value = events.join([events.encode(first), changed(sequence=9, input_tokens=-5), b"17", events.encode(last)])
    good, bad, worse, end = read(value)
    assert (good, end) == (first, last)
    assert bad.produced is not None
    assert (bad.produced.producer, bad.produced.epoch, bad.produced.sequence) == ("proxy-1", "epoch-1", 9)
    assert worse.produced is None


def test_unknown_fields_are_no_reason_to_refuse() -> None:
    (event,) = read(changed(colour="blue"))
    assert event.data.input_tokens == 10


@given(st.binary(max_size=300))
def test_any_bytes_are_read(value: bytes) -> None:
    assert all(isinstance(item, Dead) for item in read(value))


@given(st.data())
def test_any_change_of_a_good_event_is_read(data: st.DataObject) -> None:
    mutated = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(mutated) - 1))
        mutated[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    items = read(bytes(mutated))
    assert all(isinstance(item, Dead | events.Event) for item in items)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(field=st.sampled_from(sorted(msgspec.json.decode(GOOD)["data"])), value=JSON)
def test_any_value_of_any_field_is_read(field: str, value: Any) -> None:
    (item,) = read(changed(**{field: value}))
    if isinstance(item, Dead):
        assert item.reason in ("invalid", "future_time", "too_old", "broken_json")
    else:
        assert msgspec.json.decode(msgspec.json.encode(item.data)).get(field, value) == value
