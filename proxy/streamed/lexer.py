"""JSON in pieces: takes bytes as they come, says what stands in them, and keeps no more than an unfinished token.

It takes what RFC 8259 allows and nothing else, so that no parser can find other names or values in the same bytes. Only as
much is told as is asked for: after `skip`, any value is a run of `RAW` pieces and an `END`.
"""

import codecs
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NoReturn

from proxy.dialects.base import BadRequestError
from proxy.streamed import patterns


class Kind(Enum):
    """What a piece is."""

    OPEN = auto()
    CLOSE = auto()
    """Ends a value, too: no `END` follows."""
    KEY = auto()
    """A member's name, with its quotes; its value follows."""
    COMMA = auto()
    """Between items of a list; those between members are not told."""
    TEXT = auto()
    """A piece of a string or scalar; `END` follows the last."""
    RUN = auto()
    """Several items of a list, all scalars, each with the comma before it."""
    ITEM = auto()
    """An item of a list, with the comma before it: a string, or an object of strings and scalars that has no `uuid`."""
    RAW = auto()
    END = auto()


MAX_DEPTH: Final = 500
MAX_TOKEN: Final = 4096
"""Bytes of a member's name, or of a number."""

_Step = tuple[Kind | None, int, bool]
"""What was found (None: nothing to tell), where it ends, and whether a value ends with it."""
_CONTROLS: Final = bytes(range(0x20))
_QUOTE, _BRACE, _BRACKET, _COMMA_BYTE = b'"{[,'
_CLOSER: Final = {_BRACE: 0x7D, _BRACKET: 0x5D}


class Lexer:
    """Reads one object. What is none raises BadRequestError."""

    def __init__(self) -> None:
        self._left = b""
        self._stack = bytearray()
        self._step = self._value
        """What reads the next token; returns None when that is not whole yet."""
        self._skipped: int | None = None
        """The depth at which the value that is skipped ends."""
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def skip(self, opened: bool = False) -> None:
        """Tell only the bytes of the value that begins next, or of what is left of the one that was just `opened`."""
        self._skipped = len(self._stack) - opened

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Take bytes, say what stands in them. To be read to its end before the next ones."""
        self._check_utf8(data)
        buffer = self._left + data if self._left else data
        at = start = 0  # what is skipped and not told yet begins at `start`
        while True:
            if self._step != self._rest_of_string:
                at = patterns.space(buffer, at).end()  # type: ignore[union-attr]
            found = self._step(buffer, at) if at < len(buffer) else None
            if found is None:
                break
            kind, end, ended = found
            if self._skipped is None:
                if kind is not None:
                    yield kind, buffer[at:end]
                if ended and kind is Kind.TEXT:
                    yield Kind.END, b""
                start = end
            elif ended and len(self._stack) == self._skipped:
                self._skipped = None
                yield Kind.RAW, buffer[start:end]
                yield Kind.END, b""
                start = end
            at = end
        if self._skipped is not None and at > start:
            yield Kind.RAW, buffer[start:at]
        self._left = buffer[at:]
        if len(self._left) > MAX_TOKEN:
            raise BadRequestError(f"a name or a number in the body is longer than {MAX_TOKEN} bytes", "invalid_json")

    def finish(self) -> None:
        """Say that no more comes."""
        if self._step != self._nothing:
            self._refuse("it ends too early")

    # -- what may come next ----------------------------------------------------------------------------------------

    def _value(self, buffer: bytes, at: int) -> _Step | None:
        first = buffer[at]
        if first in _CLOSER:
            return self._open(first, at)
        if not self._stack:
            self._refuse("it does not begin with `{`")
        if first == _QUOTE:
            self._step = self._rest_of_string
            return self._rest_of_string(buffer, at + 1) or (Kind.TEXT, at + 1, False)
        found = patterns.plain(buffer, at)
        if found is not None:
            self._step = self._after
            return Kind.TEXT, found.end(), True
        if patterns.delimiter(buffer, at) is not None:
            self._refuse("a value is no JSON")
        return None

    def _rest_of_string(self, buffer: bytes, at: int) -> _Step | None:
        end = buffer.find(b'"', at)
        if end < 0:
            end = len(buffer)
        piece = buffer[at:end]
        if b"\\" in piece or piece.translate(None, _CONTROLS) != piece:  # ten times as fast as to match it
            end = patterns.chars(buffer, at).end()  # type: ignore[union-attr]
        if end < len(buffer):
            if buffer[end] == _QUOTE:
                self._step = self._after
                return Kind.TEXT, end + 1, True
            if patterns.begun_escape(buffer, end) is None:
                self._refuse("a string holds what must be escaped")
        return (Kind.TEXT, end, False) if end > at else None

    def _first_item(self, buffer: bytes, at: int) -> _Step | None:
        return self._close(at) if buffer[at] == _CLOSER[_BRACKET] else self._value(buffer, at)

    def _first_name(self, buffer: bytes, at: int) -> _Step | None:
        return self._close(at) if buffer[at] == _CLOSER[_BRACE] else self._name(buffer, at)

    def _name(self, buffer: bytes, at: int) -> _Step | None:
        found = patterns.name(buffer, at)
        if found is not None:
            self._step = self._value
            return Kind.KEY, found.end(), False
        end = patterns.chars(buffer, at + 1).end()  # type: ignore[union-attr]
        if buffer[at] != _QUOTE:
            self._refuse("a member has no name")
        if end == len(buffer) or patterns.begun_escape(buffer, end) is not None:
            return None
        if buffer[end] != _QUOTE or patterns.space(buffer, end + 1).end() < len(buffer):  # type: ignore[union-attr]
            self._refuse("a member's name is no JSON")
        return None

    def _after(self, buffer: bytes, at: int) -> _Step | None:
        within = self._stack[-1]
        if buffer[at] == _CLOSER[within]:
            return self._close(at)
        if buffer[at] != _COMMA_BYTE:
            self._refuse("a comma is missing")
        if within == _BRACKET:
            end = (patterns.plain_items if self._skipped is None else patterns.items)(buffer, at).end()  # type: ignore[union-attr]
            if end > at:
                return Kind.RUN, end, False
            found = patterns.item(buffer, at) if self._skipped is None else None
            if found is not None:
                return Kind.ITEM, found.end(), False
            self._step = self._value
            return Kind.COMMA, at + 1, False
        end = patterns.members(buffer, at).end() if self._skipped is not None else at  # type: ignore[union-attr]
        if end > at:
            return Kind.RUN, end, False
        self._step = self._name
        return None, at + 1, False

    def _nothing(self, buffer: bytes, at: int) -> _Step | None:
        self._refuse("something follows its end")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _open(self, first: int, at: int) -> _Step:
        if len(self._stack) == MAX_DEPTH or (not self._stack and first != _BRACE):
            self._refuse("it is too deep, or does not begin with `{`")
        self._stack.append(first)
        self._step = self._first_name if first == _BRACE else self._first_item
        return Kind.OPEN, at + 1, False

    def _close(self, at: int) -> _Step:
        self._stack.pop()
        self._step = self._after if self._stack else self._nothing
        return Kind.CLOSE, at + 1, True

    def _check_utf8(self, data: bytes) -> None:
        if data.isascii() and not self._utf8.getstate()[0]:
            return
        try:
            self._utf8.decode(data)
        except UnicodeDecodeError:
            raise BadRequestError("the body is not UTF-8", "invalid_json") from None

    def _refuse(self, why: str) -> NoReturn:
        raise BadRequestError(f"the body is not a JSON object: {why}", "invalid_json")
