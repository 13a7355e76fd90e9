"""The events as JSON Schema, and the topics as an AsyncAPI document, for producers and consumers that are not ours.

Rendered from the structs of `contracts.events`, so that they cannot differ from what is read. Values in, values out:
`docs/schemas/` and `docs/asyncapi.json` hold what these functions return.
"""

from typing import Any, Final

import msgspec

from contracts import events, topics

Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI: Final = "3.0.0"
ENVELOPE: Final = "cloudevent"
"""Name of the envelope's schema, in which `data` is anything."""

_REFERENCE: Final = "#/components/schemas/{name}"


def data(topic: str) -> Schema:
    """Return the schema of `data` in a topic's events: the one that their `dataschema` names."""
    described = msgspec.json.schema(topics.DATA[topic])
    name = described.pop("$ref").removeprefix("#/$defs/")
    return {"$schema": DIALECT, "$id": topics.schema_id(topic), **described["$defs"].pop(name), **_rest(described)}


def envelope() -> Schema:
    """Return the schema of the CloudEvents envelope that all topics share."""
    [(_, described)] = _schemas(events.Event[Any])[1].items()
    return {"$schema": DIALECT, "$id": "urn:weighbridge:schema:cloudevent", **described, "title": "CloudEvent"}


def asyncapi(version: str) -> Schema:
    """Return all topics as an AsyncAPI document; `version` is Weighbridge's."""
    references, components = _schemas(*(topics.event_type(topic) for topic in topics.DATA))
    payloads = dict(zip(topics.DATA, references, strict=True))
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "Weighbridge events",
            "version": version,
            "license": {"name": "Apache-2.0"},
            "description": (
                "CloudEvents 1.0 in JSON on Kafka. A record holds one event (structured mode, keyed by `partitionkey`) or"
                " several of one partition (batched mode, no key); a consumer takes both. A field that was not reported"
                " is left out, and never zero."
            ),
        },
        "defaultContentType": events.CONTENT_TYPE,
        "channels": {topic: _channel(topic) for topic in topics.DATA},
        "operations": {
            f"receive.{topic}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{topic}"},
                "summary": _summary(topic),
            }
            for topic in topics.DATA
        },
        "components": {
            "messages": {name: message for topic in topics.DATA for name, message in _messages(topic, payloads[topic])},
            "schemas": components,
        },
    }


def _channel(topic: str) -> Schema:
    names = (topic, f"{topic}.batch")
    return {
        "address": topic,
        "description": _summary(topic),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _messages(topic: str, payload: Schema) -> list[tuple[str, Schema]]:
    one = {
        "name": topic,
        "title": _summary(topic),
        "contentType": events.CONTENT_TYPE,
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": "the tenant"}, "bindingVersion": "0.5.0"}},
    }
    batch = {
        "name": f"{topic}.batch",
        "title": f"Several of: {_summary(topic)}",
        "contentType": events.BATCH_CONTENT_TYPE,
        "payload": {"type": "array", "minItems": 1, "items": payload},
    }
    return [(topic, one), (f"{topic}.batch", batch)]


def _summary(topic: str) -> str:
    """Return the first sentence of the docstring of a topic's data, less the topic's name at its start."""
    text = (topics.DATA[topic].__doc__ or topic).removeprefix(f"`{topic}`: ")
    sentence = text.split("\n\n")[0].split(". ")[0].rstrip(".")
    return sentence[:1].upper() + sentence[1:]


def _schemas(*types: Any) -> tuple[tuple[Schema, ...], dict[str, Schema]]:
    return msgspec.json.schema_components(types, ref_template=_REFERENCE)


def _rest(described: Schema) -> Schema:
    """Return the definitions that are left, if any."""
    return described if described["$defs"] else {}
