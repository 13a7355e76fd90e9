"""`/v1/completions`: one or many prompts, as text, token ids or embeddings, `n` choices each."""

from typing import Final

import msgspec

from proxy.dialects.base import Asked, BadRequestError, Call, Takes
from proxy.dialects.body import Members
from proxy.dialects.generation import read, watch
from proxy.sse import Fingerprint
from proxy.watch import Watcher

_NUMBER: Final = b"-0123456789"


class Completions:
    """OpenAI's text completions, as vLLM serves them."""

    name = "completions"
    takes: Takes = Takes(caps=("max_tokens",), default=16, ids=("prompt",))

    def read(self, asked: Asked) -> Call:
        """Read a request. Raises BadRequestError."""
        return read(asked, count_prompts)

    def watch(self, call: Call, events: bool, fingerprint: Fingerprint) -> Watcher:
        """Return a watcher for the answer."""
        return watch(call, events, fingerprint)


def count_prompts(members: Members) -> int:
    """Return how many prompts a request holds: a list of numbers is one prompt, a list of anything else is many."""
    found = sum(_count(members[name]) for name in ("prompt", "prompt_embeds") if name in members)
    return max(found, 1)


def _count(raw: msgspec.Raw) -> int:
    head = bytes(memoryview(raw)[:64]).lstrip()
    if head[:4] == b"null":
        return 0
    first = head[1:].lstrip()[:1]
    if head[:1] != b"[" or (first and first in _NUMBER):  # a long list of token ids is not decoded
        return 1
    try:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        raise BadRequestError("`prompt` must be text, token ids, or a list of these") from None
    return 1 if items and bytes(memoryview(items[0])[:1]) in _NUMBER else len(items)
