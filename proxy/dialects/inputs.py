"""How many texts, pairs or documents a request of a pooling model holds: what vLLM runs the model on, one by one.

Only the first characters of an item are looked at; long lists of token ids are not decoded.
"""

from typing import Final

import msgspec

from proxy.dialects.body import Members

_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_NUMBER: Final = b"-0123456789"
_TEXTS: Final = ("input", "messages")
PARTS: Final = ("messages", "query", "queries", "documents", "items", "text_1", "text_2", "data_1", "data_2")
"""What may hold parts of content, as chat messages do."""
_PAIRS: Final = ("queries", "documents", "items", "text_1", "text_2", "data_1", "data_2")


def texts(members: Members) -> int:
    """Count what `input` or `messages` hold: a list of token ids, or of chat messages, is one text."""
    return most(members, _TEXTS, one=_NUMBER + b"{")


def pairs(members: Members) -> int:
    """Count the pairs of a score request: one with each of many, or many with as many."""
    return most(members, _PAIRS)


def documents(members: Members) -> int:
    """Count the documents that are ranked."""
    return most(members, ("documents",))


def items(members: Members) -> int:
    """Count the items that are scored."""
    return most(members, ("items",))


def most(members: Members, names: tuple[str, ...], one: bytes = b"") -> int:
    """Return the length of the longest member, at least 1. A list whose first item begins with one of `one` counts as 1."""
    return max([1, *[_length(members[name], one) for name in names if name in members]])


def _length(raw: msgspec.Raw, one: bytes) -> int:
    head = bytes(memoryview(raw)[:64]).lstrip()
    if head[:1] != b"[":
        return 1
    first = head[1:].lstrip()[:1]
    return 1 if first and first in one else len(_items(raw))
