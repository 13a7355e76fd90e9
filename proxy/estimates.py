"""What requests probably take, learned from those that were counted: of prompts by model, of answers by tenant and model.

Pure, and bounded: who was not heard of for longest is forgotten first.
"""

import math
from typing import Final, Generic, TypeVar

from proxy.dialects.takes import TEMPLATE

MODELS: Final = 1_000
SENDERS: Final = 50_000
BYTES_PER_TOKEN: Final = 3.0
"""Before a model has shown its own."""
ANSWER: Final = 256
"""Tokens of an answer of somebody who has had none yet."""
MEDIA: Final = 1_024
"""Tokens of a picture, or another part that is no text."""
_WEIGHT: Final = 3_000.0
"""Bytes that the guess counts for."""
_KEEP: Final = 0.98
"""What a request before counts for beside the one after it."""
_FRESH: Final = 0.1

K = TypeVar("K")
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """Entries by name, the one that was set longest ago first."""

    def __init__(self, most: int) -> None:
        self.entries: dict[K, V] = {}
        self._most = most

    def set(self, name: K, entry: V) -> None:
        self.entries.pop(name, None)
        self.entries[name] = entry
        if len(self.entries) > self._most:
            del self.entries[next(iter(self.entries))]


class _Prompts:
    """Of one model: decayed sums of bytes and of tokens, and the most that one prompt had beyond its bytes."""

    __slots__ = ("beyond", "bytes", "tokens")

    def __init__(self) -> None:
        self.bytes = _WEIGHT
        self.tokens = _WEIGHT / BYTES_PER_TOKEN
        self.beyond = TEMPLATE


class Estimates:
    """One for each upstream."""

    def __init__(self) -> None:
        self._prompts: _Recent[str | None, _Prompts] = _Recent(MODELS)
        self._answers: _Recent[tuple[str, str | None], float] = _Recent(SENDERS)

    def prompt(self, model: str | None, text: int, ids: int, media: int) -> int:
        """Return how many tokens a prompt of so many bytes of text, token ids and media probably has."""
        known = self._prompts.entries.get(model)
        rate = known.tokens / known.bytes if known is not None else 1 / BYTES_PER_TOKEN
        return math.ceil(text * rate) + ids + media * MEDIA

    def template(self, model: str | None) -> int:
        """Return how many tokens a prompt may have beyond those of its text."""
        known = self._prompts.entries.get(model)
        return known.beyond if known is not None else TEMPLATE

    def answer(self, tenant: str, model: str | None) -> int:
        """Return how many tokens one answer of the model to the tenant probably has."""
        return math.ceil(self._answers.entries.get((tenant, model), ANSWER))

    def learn_prompt(self, model: str | None, text: int, tokens: int, prompts: int) -> None:
        """Take what the prompts of a request had, that is of text alone."""
        known = self._prompts.entries.get(model) or _Prompts()
        known.bytes = known.bytes * _KEEP + text
        known.tokens = known.tokens * _KEEP + tokens
        known.beyond = max(known.beyond, math.ceil((tokens - text) / prompts))
        self._prompts.set(model, known)

    def learn_answer(self, tenant: str, model: str | None, tokens: float) -> None:
        """Take how many tokens one answer had, which was not told how long it may be."""
        before = self._answers.entries.get((tenant, model))
        self._answers.set((tenant, model), tokens if before is None else before + _FRESH * (tokens - before))
