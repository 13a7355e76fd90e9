"""Events: what is written reads back, what is absent stays absent, what is absurd is refused."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import events, topics

MOMENT = datetime(2026, 11, 21, 9, 30, 15, 123456, tzinfo=UTC)
usage_decoder = msgspec.json.Decoder(topics.event_type(topics.USAGE))


def usage(**changes):
    fields = {
        "producer": "gpu-0",
        "epoch": "e" * 32,
        "sequence": 1,
        "request_id": "r1",
        "tenant": "ten_1",
        "instance": "gpu-0",
        "endpoint": "/v1/chat/completions",
        "received_at": MOMENT,
        "admitted_at": MOMENT,
        "outcome": "completed",
        "accuracy": "exact",
    }
    data = events.UsageData(**{**fields, **changes})
    return events.Event(
        specversion="1.0",
        id="r1.usage",
        source="weighbridge/gpu-0",
        type=topics.USAGE,
        subject="ten_1",
        time=MOMENT,
        data=data,
    )


counts = st.none() | st.integers(0, 10**12)


@given(
    input_tokens=counts,
    output_tokens=counts,
    tags=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_an_event_reads_back_as_it_was_written(**fields):
    assert usage_decoder.decode(events.encode(usage(**fields))) == usage(**fields)


def test_what_was_not_reported_is_not_in_the_json():
    written = msgspec.json.decode(events.encode(usage(input_tokens=0)))
    assert written["data"]["input_tokens"] == 0
    assert "output_tokens" not in written["data"]
    assert written["time"].endswith("Z")


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_tokens": -1},
        {"output_tokens": 10**13},
        {"input_tokens": 1.5},
        {"sequence": 0},
        {"outcome": "fine"},
        {"tenant": ""},
        {"accuracy": None},
    ],
)
def test_absurd_values_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        usage_decoder.decode(events.encode(usage(**wrong)))


def test_unknown_fields_of_newer_versions_are_read_over():
    written = msgspec.json.decode(events.encode(usage()))
    written["data"]["carbon_grams"] = 3
    assert usage_decoder.decode(msgspec.json.encode(written)) == usage()


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_a_batch_splits_into_what_was_joined(counts):
    encoded = [events.encode(usage(input_tokens=count)) for count in counts]
    assert events.split(events.join(encoded)) == encoded
    assert events.split(encoded[0]) == [encoded[0]]


@given(st.binary(max_size=50))
def test_splitting_any_bytes_splits_or_says_why_not(record):
    try:
        parts = events.split(record)
    except msgspec.DecodeError:
        assert record.lstrip().startswith(b"[")
    else:
        assert parts == [record] or record.lstrip().startswith(b"[")


def test_every_topic_has_a_type_and_names_its_version():
    for topic in topics.DATA:
        assert topic.startswith("weighbridge.")
        assert topic.endswith(".v1")
        msgspec.json.Decoder(topics.event_type(topic))


def test_local_times_are_written_in_utc():
    shifted = usage(admitted_at=(MOMENT + timedelta(hours=1)).astimezone(tz=None))
    assert usage_decoder.decode(events.encode(shifted)).data.admitted_at == MOMENT + timedelta(hours=1)
