"""Usage in an answer that is one JSON object, in the words of other APIs than OpenAI's first ones."""

from collections.abc import Callable
from typing import Final

import msgspec

from proxy.reported import Reported
from proxy.tokens import Count, Tokens
from proxy.unary import UnaryWatcher
from proxy.usage import MEMBER

_NAME: Final = len(b',"usage":')


class Found(msgspec.Struct, frozen=True, gc=False):
    """What an answer says about itself."""

    tokens: Tokens | None = None
    response_id: str | None = None
    served_model: str | None = None
    finish_reason: str | None = None


class WholeWatcher(UnaryWatcher):
    """Watches one whole answer.

    Args:
        answer: reads a body.
        usage: reads a `usage` object, where a body is too large to be read as a whole. Such a body may repeat what the client
            wrote, under any name: of several, the largest counts, so that nobody can write himself a small one.

    Both may raise ValueError.

    """

    __slots__ = ("_answer", "_tokens", "_usage")

    def __init__(self, answer: Callable[[bytes], Found], usage: Callable[[bytes], Tokens]) -> None:
        super().__init__()
        self._answer = answer
        self._usage = usage
        self._tokens: Tokens | None = None

    def count(self) -> Count | None:
        """Return what the answer reported; None before its end."""
        return Count(self._tokens, whole=True) if self._tokens is not None else None

    def _search(self, seen: bytes) -> Reported | None:
        for match in MEMBER.finditer(seen):
            try:
                tokens = self._usage(match[0][_NAME:])
            except ValueError:
                continue
            if self._tokens is None or _size(tokens) > _size(self._tokens):
                self._tokens = tokens
        return None

    def _understand(self, whole: bytes) -> None:
        found = self._answer(whole)
        self._tokens, self.response_id, self.served_model = found.tokens, found.response_id, found.served_model
        self.finish_reason = found.finish_reason


def _size(tokens: Tokens) -> int:
    return (tokens.input or 0) + (tokens.output or 0)
