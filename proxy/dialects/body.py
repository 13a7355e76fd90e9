"""JSON bodies, taken apart one level deep: members that are not touched keep their bytes.

The body that goes upstream is written from the members that were read, so that what vLLM parses is what was metered.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from proxy.dialects.base import Asked, BadRequestError

Members = dict[str, msgspec.Raw]

UNTRUSTED: Final = frozenset(
    {
        "priority",
        "cache_salt",
        "kv_transfer_params",
        "ec_transfer_params",
        "vllm_xargs",
        "request_id",
        "session_id",
    }
)
"""Members that let a client jump the queue, read other tenants' cache, steer the engine, or name what runs in it."""
ROUTER: Final = frozenset({"kv_transfer_params", "ec_transfer_params"})
"""Of these, the ones by which the steps of one request find each other: a trusted router's to say."""
_ROUTERS: Final = UNTRUSTED - ROUTER

TRUE: Final = msgspec.Raw(b"true")
_members = msgspec.json.Decoder(Members).decode
_encode = msgspec.json.Encoder().encode
_string = msgspec.json.Decoder(str | None).decode
_integer = msgspec.json.Decoder(int | None).decode
_flag = msgspec.json.Decoder(bool | None).decode
T = TypeVar("T")


def read_json(asked: Asked) -> Members:
    """Return the members of a request of JSON, without those that no client may set.

    Raises BadRequestError, also for what is sent under another type than vLLM reads.
    """
    if asked.content_type.partition(b";")[0].lower() != b"application/json":
        raise BadRequestError("this endpoint takes `Content-Type: application/json` alone", "unsupported_media_type")
    members = take_apart(asked.body)
    strip(members, asked)
    return members


def untrusted(asked: Asked) -> frozenset[str]:
    """Return the members that the sender of this request may not set."""
    return _ROUTERS if asked.trusted else UNTRUSTED


def strip(members: Members, asked: Asked) -> None:
    """Take out what the sender of this request may not set."""
    names = untrusted(asked)
    if not names.isdisjoint(members):
        for name in names:
            members.pop(name, None)


def take_apart(body: bytes, name: str = "the body") -> Members:
    """Return the members of a JSON object. Raises BadRequestError for what is none, or names a member twice."""
    if not body.isascii():
        _check_utf8(body)
    try:
        members = _members(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequestError(f"{name} is not a JSON object: {error}", "invalid_json") from None
    if _encode(members) != body:
        _check_unambiguous(body, members, name)
    return members


def put_together(members: Members) -> bytes:
    """Write members as a JSON object."""
    return _encode(members)


def text(members: Members, name: str) -> str | None:
    """Return a member that is a string, null or absent. Raises BadRequestError."""
    raw = members.get(name)
    return None if raw is None else _value(raw, name, _string, "a string")


def number(members: Members, name: str) -> int | None:
    """Return a member that is an integer, null or absent. Raises BadRequestError."""
    raw = members.get(name)
    return None if raw is None else _value(raw, name, _integer, "an integer")


def flag(members: Members, name: str) -> bool | None:
    """Return a member that is true, false, null or absent. Raises BadRequestError."""
    raw = members.get(name)
    return None if raw is None else _value(raw, name, _flag, "true or false")


def _value(raw: msgspec.Raw, name: str, decode: Callable[[msgspec.Raw], T | None], kind: str) -> T | None:
    try:
        return decode(raw)
    except msgspec.DecodeError:
        raise BadRequestError(f"`{name}` must be {kind}") from None


def _check_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError:
        raise BadRequestError("the body is not UTF-8", "invalid_json") from None


def _check_unambiguous(body: bytes, members: Members, name: str) -> None:
    """Refuse members named twice: of two parsers, each may believe another one."""
    spaced = b"{" + b", ".join([_encode(key) + b": " + bytes(raw) for key, raw in members.items()]) + b"}"
    if spaced == body:  # as Python writes JSON
        return
    if msgspec.json.format(body, indent=-1) != msgspec.json.format(_encode(members), indent=-1):
        raise BadRequestError(f"{name} names a member twice, or escapes a member's name", "invalid_json")
