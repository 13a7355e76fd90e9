"""Names that clients give to media: under such a name vLLM keeps what it made of a picture, for whoever names it next.

So nobody names media: `uuid` is taken out of parts of content, wherever vLLM reads parts. What vLLM then takes for a name is a
hash of the media itself.
"""

import re
from typing import Final

import msgspec

from proxy.dialects.base import BadRequestError
from proxy.dialects.body import Members

NAME: Final = "uuid"
HOLDERS: Final = ("content", "output")
"""Members that hold parts: of a message, an item of `/v1/responses`, a tool's result, a document."""
_MAX_DEPTH: Final = 16
"""Conversations, messages, parts, the parts of a tool's result: half of this."""
_ESCAPED: Final = re.compile(rb'"(?:u|\\u0075)(?:u|\\u0075)(?:i|\\u0069)(?:d|\\u0064)"')
_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_members: Final = msgspec.json.Decoder(Members).decode
_encode: Final = msgspec.json.Encoder().encode


def unname(members: Members, body: bytes, names: tuple[str, ...]) -> None:
    """Take the names of media out of the members `names` of `body`. Raises BadRequestError.

    Only a body that may hold such a name, escaped or not, is looked at more deeply.
    """
    escaped = body.find(b"\\u00") >= 0 and _ESCAPED.search(body) is not None
    if not escaped and body.find(b'"uuid"') < 0:
        return
    for name in names:
        given = members.get(name)
        if given is None:
            continue
        try:
            members[name] = _without_names(given, 0)
        except msgspec.DecodeError:
            raise BadRequestError(f"`{name}` is not JSON that can be read") from None


def _without_names(given: msgspec.Raw, depth: int) -> msgspec.Raw:
    """Return lists and objects that may be parts or hold parts, written anew; anything else as it is."""
    if depth > _MAX_DEPTH:
        raise BadRequestError("parts of content lie too deep")
    first = bytes(memoryview(given)[:1])
    if first == b"[":
        return msgspec.Raw(_encode([_without_names(item, depth + 1) for item in _items(given)]))
    if first == b"{":
        part = _members(given)
        part.pop(NAME, None)
        for holder in HOLDERS:
            held = part.get(holder)
            if held is not None:
                part[holder] = _without_names(held, depth + 1)
        return msgspec.Raw(_encode(part))
    return given
