"""How many tokens a request may take, by what its dialect says of the API (`base.Takes`). Pure.

**Prompts.** A token stands for at least one byte of text (tokenizers of bytes; docs/limits.md names the others), and JSON
writes no text in fewer bytes than it has. So the bytes of a body are a bound, with what a chat template adds. A list of token
ids is as many tokens as it has numbers. What is scored against many is counted as often. Media say nothing of how many tokens
they become: a prompt with media, with a conversation that vLLM keeps, or passed on while it came, may be as long as the
model's context.

**Answers.** `max_tokens`, under the names that the API has for it, times the choices. Pooling models generate nothing.
"""

import re
from typing import Final

import msgspec

from proxy.dialects.base import Call, Takes
from proxy.dialects.body import Members, number, put_together

TEMPLATE: Final = 256
"""Tokens that a chat template adds to a prompt, until a model has shown that its own adds more."""
_MEDIA: Final = (b"image", b"audio", b"video", b"prompt_embeds")
"""What the names of parts of content begin with that are no text: `image_url`, `input_audio`, `images`."""
_BEFORE: Final = (b'"', b'"input_')
_REST: Final = re.compile(rb's?(?:_[a-z]+)?"').match
_ESCAPED: Final = re.compile(rb"\\u00[4-7]").search
"""A letter that is escaped: nobody writes so, but to hide one of these names."""
_BASE64: Final = b";base64,"
_PIECE: Final = 16 << 10
"""Bytes of sound for which half a minute may be hidden, which is what a model hears at once."""
_decode: Final = msgspec.json.Decoder(Members).decode
_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Size:
    """One request's. `text`: bytes of text at most; `ids`: token ids; `media`: parts that are neither.

    `spans`: how many times the model's context its prompts fill at most. `opaque`: no bytes bound them, the context alone does.
    `asked`: tokens that one answer may have, None: nothing says so.
    """

    __slots__ = ("asked", "ids", "media", "opaque", "spans", "text")

    def __init__(self) -> None:
        self.text = self.ids = self.media = 0
        self.spans = 1
        self.opaque = False
        self.asked: int | None = None


def measure(takes: Takes, call: Call, passed: int) -> Size:
    """Return the size of a request; `passed` are bytes of its body that vLLM has already. Raises BadRequestError."""
    size = Size()
    size.spans = call.inputs
    size.text = len(call.body) + passed
    if takes.sound:
        size.opaque = True
        size.spans = 1 + size.text // _PIECE
        return size
    if not call.body:
        return size
    body = call.body
    members = _decode(body)
    for name in takes.ids:
        given = bytes(members.get(name, b'"'))
        if b'"' not in given:
            size.ids += given.count(b",") + 1
            size.text -= len(given)
    size.media = _media(body)
    if size.media:
        size.text -= _encoded(body)
    if takes.whole:
        size.text *= call.inputs
    elif call.inputs > 1:
        size.text += (call.inputs - 1) * sum(_single(members[name]) for name in takes.repeated if name in members)
    size.opaque = passed > 0 or size.media > 0 or (takes.history != "" and _is_set(members, takes.history))
    size.asked = _asked(takes, members)
    return size


def rewritten(takes: Takes, body: bytes, cap: int | None, model: str | None) -> bytes:
    """Return a body with no answer longer than `cap`, for `model`; None: as it is."""
    members = _decode(body)
    if model is not None:
        members["model"] = msgspec.Raw(msgspec.json.encode(model))
    if cap is not None and takes.caps:
        written = msgspec.Raw(b"%d" % cap)
        options = _decode(members[takes.within]) if takes.within else members
        given = [name for name in takes.caps if _is_set(options, name)]
        for name in given or takes.caps[:1]:
            if name not in given or (number(options, name) or 0) > cap:
                options[name] = written
        if takes.within:
            members[takes.within] = msgspec.Raw(put_together(options))
    return put_together(members)


def _asked(takes: Takes, members: Members) -> int | None:
    """Return the largest of what the client names: which of several vLLM believes is its own affair."""
    if not takes.caps:
        return None
    options = _decode(members[takes.within]) if takes.within else members
    named = [asked for name in takes.caps if (asked := number(options, name)) is not None]
    if named:
        return max(0, *named)
    left_open = any(name in options for name in takes.caps)  # null: not what it would be if nothing was said
    return None if left_open and takes.default else takes.default


def _single(given: msgspec.Raw) -> int:
    """Return the bytes of what is read with each of many, 0 for what is many itself."""
    raw = bytes(given)
    return 0 if raw[:1] == b"[" and len(_items(given)) > 1 else len(raw)


def _media(body: bytes) -> int:
    """Return how many parts of content are no text, at least 1 where there may be some."""
    found = 0
    for word in _MEDIA:
        at = body.find(word)
        while at >= 0:
            end = at + len(word)
            if body[max(0, at - 7) : at].endswith(_BEFORE) and _REST(body, end) is not None:
                found += 1
            at = body.find(word, end)
    if not found and b"\\u00" in body and _ESCAPED(body) is not None:
        return 1
    return (found + 1) // 2  # a part names its kind twice


def _encoded(body: bytes) -> int:
    """Return the bytes of media in `data:` URLs."""
    found = 0
    at = body.find(_BASE64)
    while at >= 0:
        end = body.find(b'"', at)
        end = len(body) if end < 0 else end
        found += end - at
        at = body.find(_BASE64, end)
    return found


def _is_set(members: Members, name: str) -> bool:
    given = members.get(name)
    return given is not None and bytes(given) != b"null"
