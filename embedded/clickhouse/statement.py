"""Reading a ClickHouse statement as far as the HTTP protocol needs it. Pure.

The engine takes an INSERT's statement and its data apart from each other, while HTTP sends both in one stream of bytes; and
HTTP tells a client in a header whether a statement returns rows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    rb"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)
       | (?P<quoted>'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*")
       | (?P<word>[A-Za-z_]\w*)
       | (?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_RETURN_ROWS: Final = frozenset(
    {"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "CHECK", "FROM", "WATCH"}
)
_NO_DATA: Final = frozenset({"SELECT", "WITH", "VALUES", "INFILE", "WATCH"})
_DATA_STARTS: Final = re.compile(rb"[ \t\f]*\r?\n?")
_TAIL: Final = 4096


@dataclass(frozen=True)
class Insert:
    """An INSERT that brings its own data: the statement without its FORMAT clause, the format's name, the data."""

    head: str
    format: str
    data: bytes


def first_word(text: bytes) -> str:
    """Return the keyword that says what kind of statement this is, in capitals; empty when there is none."""
    return next((word for word, _, _, _ in _words(text)), "")


def returns_rows(text: bytes) -> bool:
    """Tell whether the statement gives a result set, be it an empty one."""
    return first_word(text) in _RETURN_ROWS


def split_insert(text: bytes) -> Insert | None:
    """Take an `INSERT … FORMAT X` with data apart; None for any other statement, INSERT … VALUES and SELECT among them."""
    words = _words(text)
    if next(words, ("", 0, 0, 0))[0] != "INSERT":
        return None
    for word, start, end, depth in words:
        if depth:
            continue
        if word in _NO_DATA:
            return None
        if word == "FORMAT":
            return _cut(text, start, end)
    return None


def without_format(text: bytes) -> tuple[bytes, str | None]:
    """Take a trailing `FORMAT X` off a query; returns the rest and the format's name, None where there is no such clause.

    Only the clause's usual place, the very end, is looked at.
    """
    tail = text[-_TAIL:].decode("utf-8", "replace")
    match = re.search(r"\bFORMAT\s+(\w+)\s*;?\s*$", tail, re.IGNORECASE)
    if match is None:
        return text, None
    return text[: len(text) - len(match[0].encode())], match[1]


def _cut(text: bytes, start: int, end: int) -> Insert | None:
    name = next(_words(text[end : end + 256]), None)
    if name is None:
        return None
    after = end + name[2]
    data_at = _DATA_STARTS.match(text, after)
    return Insert(
        head=text[:start].decode("utf-8", "replace"),
        format=text[end + name[1] : after].decode("ascii"),
        data=text[data_at.end() if data_at else after :],
    )


def _words(text: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Yield each bare word in capitals with its start, end and depth of parentheses; quoted text is no word."""
    depth = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "word":
            yield match[0].decode("ascii", "replace").upper(), match.start(), match.end(), depth
        elif match.lastgroup == "other":
            depth += {b"(": 1, b")": -1}.get(match[0], 0)
