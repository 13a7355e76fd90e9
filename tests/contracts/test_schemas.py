"""The committed schemas are those of the structs, and they say what decoding says."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import events, schemas, topics
from tests.servers import ROOT

DOCS = ROOT / "docs"
NOW = "2026-11-21T09:00:00.5Z"
PRODUCED = {"producer": "proxy-1.0", "epoch": "ep_1", "sequence": 1}
REQUEST = {
    **PRODUCED,
    "request_id": "req_1",
    "tenant": "ten_a",
    "instance": "gpu-1",
    "endpoint": "/v1/chat/completions",
    "received_at": NOW,
}
SAMPLES: dict[str, dict[str, Any]] = {
    topics.REQUEST: {**REQUEST, "decision": "denied", "code": "invalid_api_key", "queue_seconds": 0.25},
    topics.USAGE: {**REQUEST, "outcome": "completed", "accuracy": "exact", "input_tokens": 7, "tags": {"a": "b"}},
    topics.INSTANCE: {
        "producer": "proxy-1.0", "instance": "gpu-1", "sampled_at": NOW, "healthy": True, "in_flight": 1, "queued": 0,
        "kv_cache_usage": 0.5,
    },
    topics.ACK: {"producer": "proxy-1.0", "epoch": "ep_1", "contiguous": 9},
    topics.QUOTA: {
        "tenant": "ten_a", "window": "day", "window_start": NOW, "generation": 3, "requests": 1, "input_tokens": 2,
        "output_tokens": 3,
    },
    topics.ALERT: {
        "alert": "limit_reached", "tenant": "ten_a", "limit": "lim_1", "subject_kind": "tenant", "subject_id": "ten_a",
        "meter": "requests", "window": "day", "window_start": NOW, "window_end": NOW, "percent": 80, "amount": 10, "used": 8,
    },
    topics.SCALING: {"model": "m", "as_of": NOW, "instances": 1, "in_flight": 2, "waiting": 0},
    topics.DEADLETTER: {"topic": "t", "partition": 0, "offset": 0, "reason": "json", "detail": "…", "payload": "AAE="},
    topics.PROMPT: {
        "producer": "proxy-1.0", "request_id": "req_1", "tenant": "ten_a", "instance": "gpu-1", "endpoint": "/v1/completions",
        "outcome": "completed", "request": "{}", "request_truncated": True,
    },
}  # fmt: skip


def committed(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = msgspec.json.decode((DOCS / name).read_bytes())
    return loaded


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_topic_has_a_sample() -> None:
    assert SAMPLES.keys() == topics.DATA.keys()


@pytest.mark.parametrize("topic", topics.DATA)
def test_committed_schema_is_up_to_date(topic: str) -> None:
    assert committed(f"schemas/{topic}.json") == schemas.data(topic), "run python deploy/write_docs.py"


def test_committed_envelope_and_asyncapi_are_up_to_date() -> None:
    version = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]["version"]
    assert committed("schemas/cloudevent.json") == schemas.envelope(), "run python deploy/write_docs.py"
    assert committed("asyncapi.json") == schemas.asyncapi(version), "run python deploy/write_docs.py"


def test_no_schema_is_left_over() -> None:
    names = {path.stem for path in (DOCS / "schemas").iterdir()}
    assert names == {*topics.DATA, schemas.ENVELOPE}


@pytest.mark.parametrize("topic", topics.DATA)
def test_a_sample_is_an_event_and_matches_its_schema(topic: str) -> None:
    whole = {
        "specversion": "1.0", "id": "1", "source": "proxy-1.0", "type": topic, "subject": "ten_a", "time": NOW,
        "dataschema": topics.schema_id(topic), "data": SAMPLES[topic],
    }  # fmt: skip
    event = msgspec.json.decode(msgspec.json.encode(whole), type=topics.event_type(topic))
    written = msgspec.json.decode(events.encode(event))
    validator(committed("schemas/cloudevent.json")).validate(written)
    validator(committed(f"schemas/{topic}.json")).validate(written["data"])


@pytest.mark.parametrize("topic", topics.DATA)
def test_each_required_field_is_required_by_both(topic: str) -> None:
    check = validator(committed(f"schemas/{topic}.json"))
    for field in schemas.data(topic)["required"]:
        lacking = {name: value for name, value in SAMPLES[topic].items() if name != field}
        assert not check.is_valid(lacking)
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(lacking, topics.DATA[topic])


@settings(deadline=None)
@given(count=st.one_of(st.none(), st.integers(-(2**70), 2**70), st.booleans(), st.text(max_size=3)))
def test_a_count_is_judged_alike(count: object) -> None:
    sample = {**SAMPLES[topics.USAGE], "output_tokens": count}
    try:
        msgspec.json.decode(msgspec.json.encode(sample), type=events.UsageData)
        accepted = True
    except msgspec.ValidationError:
        accepted = False
    assert validator(schemas.data(topics.USAGE)).is_valid(sample) is accepted


def test_asyncapi_refers_only_to_what_it_has() -> None:
    document = committed("asyncapi.json")
    found = list(references(document))
    assert {f"#/channels/{topic}" for topic in topics.DATA} <= set(found)
    for reference in found:
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)
