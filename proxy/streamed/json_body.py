"""A JSON body on its way: members that may be large pass, the others wait for the dialect, which reads them at the end.

The dialect gets the object with stand-ins in place of what passed: these have its kind and, of a list, its number of items.
What the dialect writes then follows the large members. So streamed and held bodies obey the same rules, in the same code.
"""

from typing import Final, NamedTuple

import msgspec

from proxy.dialects.base import BadRequestError
from proxy.dialects.body import put_together, take_apart
from proxy.dialects.media import HOLDERS, NAME
from proxy.streamed.lexer import Kind, Lexer

MAX_ITEMS: Final = 1 << 20
"""Items of a list, unless they are numbers."""
_LONGEST: Final = 64
"""Bytes of a name that can be one of `media`'s, with every character escaped."""
_STAND_INS: Final = {b'"': b'""', b"{": b"{}", b"[": b"[]"}
_NUMBER: Final = b"-0123456789"
_string: Final = msgspec.json.Decoder(str).decode


class Large(NamedTuple):
    """Members that may be large. In `parts` media lose their names (see `proxy.dialects.media`), `other` pass as they are."""

    parts: frozenset[str] = frozenset()
    other: frozenset[str] = frozenset()


class _Frame:
    """A list or object that is looked into. `parts`: names of media are taken out of the objects in it."""

    __slots__ = ("count", "first", "is_list", "parts")

    def __init__(self, is_list: bool, parts: bool) -> None:
        self.is_list = is_list
        self.parts = parts
        self.count = 0
        """Members that passed, or commas between items."""
        self.first = b""
        """The first byte of the first item."""

    def stand_in(self) -> bytes:
        """Return a list like this one."""
        if not self.first:
            return b"[]"
        item = b"0" if self.first in _NUMBER else _STAND_INS.get(self.first, b"null")
        return b"[" + b",".join([item] * min(self.count + 1, MAX_ITEMS)) + b"]"


class JsonBody:
    """One. `limit`: bytes of what waits. What must not be passed on raises BadRequestError."""

    def __init__(self, large: Large, limit: int) -> None:
        self._large, self._limit = large, limit
        self._lexer = Lexer()
        self._frames: list[_Frame] = []
        self._out: list[bytes] = []
        self._held: list[bytes] = []
        self._room = limit
        self._passed: set[str] = set()
        self._to: list[bytes] | None = self._out
        """Where the value that is read goes; None: nowhere."""
        self._parts = self._in_text = False
        self._stand_in = b""
        """Of the large member that is read, as far as is known; empty for one that waits."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return what goes to vLLM now."""
        for kind, piece in self._lexer.feed(data):
            if kind is Kind.RAW:
                self._pass(piece)
            elif kind is Kind.TEXT:
                if not self._in_text:
                    self._in_text = True
                    self._begin(piece[:1], _STAND_INS.get(piece[:1], piece))
                self._pass(piece)
            elif kind is Kind.END:
                self._in_text = False
                self._end()
            elif kind is Kind.KEY:
                self._name(piece[: piece.rindex(b'"') + 1])
            elif kind is Kind.OPEN:
                self._open(piece)
            elif kind is Kind.CLOSE:
                self._close(piece)
            else:
                self._next_items(piece, 1 if kind is Kind.ITEM else piece.count(b","))
        out = b"".join(self._out)
        self._out.clear()
        return out

    def rest(self) -> bytes:
        """Return, at the end of the body, the object with stand-ins, for the dialect."""
        self._lexer.finish()
        return b"{" + b"".join(self._held)[1:] + b"}"

    def tail(self, body: bytes) -> bytes:
        """Return what ends the body for vLLM. `body`: what the dialect wrote."""
        members = take_apart(body)
        for name in self._passed:
            del members[name]
        separator = b"," if members and self._passed else b""
        return separator + put_together(members)[1:]

    # -- what the lexer finds --------------------------------------------------------------------------------------

    def _name(self, quoted: bytes) -> None:
        """Decide about a member, whose value follows."""
        frame = self._frames[-1]
        name = _decoded(quoted)
        if len(self._frames) == 1:
            self._hold(b"," + quoted + b":")
            self._parts = name in self._large.parts
            if not self._parts and name not in self._large.other:
                self._to, self._stand_in = self._held, b""
                self._lexer.skip()
                return
            self._passed.add(name)
        elif name == NAME:
            self._to = None
            self._lexer.skip()
            return
        elif name not in HOLDERS:
            self._lexer.skip()
        self._parts = self._parts or len(self._frames) > 1
        self._out.append((b"," if frame.count else b"") + quoted + b":")
        frame.count += 1

    def _open(self, bracket: bytes) -> None:
        is_list = bracket == b"["
        self._out.append(bracket)
        if not self._frames:
            self._frames.append(_Frame(False, False))
            return
        self._begin(bracket, _STAND_INS[bracket])
        parts = self._frames[-1].parts if self._frames[-1].is_list else self._parts
        if parts or (is_list and len(self._frames) == 1):
            self._frames.append(_Frame(is_list, parts))
        else:
            self._lexer.skip(opened=True)

    def _close(self, bracket: bytes) -> None:
        frame = self._frames.pop()
        if not self._frames:
            return
        self._out.append(bracket)
        if len(self._frames) == 1 and frame.is_list:
            self._stand_in = frame.stand_in()
        self._end()

    def _next_items(self, items: bytes, count: int) -> None:
        frame = self._frames[-1]
        self._out.append(items)
        frame.count += count
        if frame.count >= MAX_ITEMS and frame.first not in _NUMBER:
            raise BadRequestError(f"a list in the body has more than {MAX_ITEMS} items", "request_too_large")

    def _begin(self, first: bytes, stand_in: bytes) -> None:
        """Note of what kind a value is that is looked into."""
        frame = self._frames[-1]
        if len(self._frames) == 1:
            self._stand_in = stand_in
        elif frame.is_list and not frame.first:
            frame.first = first

    def _end(self) -> None:
        """Note the end of a value."""
        self._to = self._out
        if len(self._frames) == 1 and self._stand_in:
            self._hold(self._stand_in)

    def _pass(self, piece: bytes) -> None:
        if self._to is self._held:
            self._hold(piece)
        elif self._to is not None:
            self._to.append(piece)

    def _hold(self, piece: bytes) -> None:
        self._room -= len(piece)
        if self._room < 0:
            large = ", ".join(f"`{name}`" for name in sorted(self._large.parts | self._large.other))
            raise BadRequestError(
                f"in a body of more than {self._limit} bytes, only {large} may be large: not the others together",
                "request_too_large",
            )
        self._held.append(piece)


def _decoded(quoted: bytes) -> str:
    """Return a name; empty for one that is none of those looked for."""
    if b"\\" not in quoted:
        return quoted[1:-1].decode()
    try:
        return _string(quoted) if len(quoted) <= _LONGEST else ""
    except msgspec.DecodeError as error:  # half of a surrogate pair
        raise BadRequestError(f"the body is not a JSON object: {error}", "invalid_json") from None
