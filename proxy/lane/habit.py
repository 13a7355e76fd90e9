"""Messages whose head was seen before, but for the length of the body: recognised by their bytes, so that none is parsed twice.

Whoever sends a request after the other, or answers one, mostly says the same each time. Only what the parser has read once is
recognised, only where the message came whole and alone, and only digits may differ: what is recognised means what the parser
would read.
"""

import re
from typing import Final

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_DIGITS: Final = 8
_PATIENCE: Final = 8
_RARELY: Final = 64
"""Heads learnt in vain, one after the other, before only every so-and-so many-th is: some never say the same twice."""


class Habit:
    """The last head of its kind. `length` and `body` are of the message that was recognised last."""

    __slots__ = ("_after", "_before", "_vain", "body", "length")

    def __init__(self) -> None:
        self._before = b""
        self._after = b""
        self._vain = 0
        self.length = b""
        self.body = b""

    def recognise(self, data: bytes) -> bool:
        """Return whether `data` is one whole message with the head that was learnt."""
        before, after = self._before, self._after
        if not before or not data.startswith(before):
            return False
        start = len(before)
        end = data.find(b"\r", start, start + _DIGITS + 1)
        if end < 0 or not data.startswith(after, end):
            return False
        length = data[start:end]
        body_at = end + len(after)
        if not length.isdigit() or int(length) != len(data) - body_at:
            return False
        self.length = length
        self.body = data[body_at:]
        self._vain = 0
        return True

    def learn(self, data: bytes, body_size: int) -> bytes | None:
        """Take the head of one whole message that the parser has read; return its length as written. None: it is no use."""
        self._vain += 1
        if self._vain > _PATIENCE and self._vain % _RARELY:
            return None
        head = len(data) - body_size
        if data.find(_END) != head - len(_END):  # empty lines before or after the message
            return None
        found = _LENGTH.search(data, 0, head)
        if found is None or len(found[1]) > _DIGITS or int(found[1]) != body_size:
            return None
        self._before = data[: found.start(1)]
        self._after = data[found.end(1) : head]
        return found[1]
