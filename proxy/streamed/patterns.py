"""What JSON is made of, as regular expressions: each matches from a place on, whole or not at all.

None of them tries a second way (they are possessive), so that no bytes make them slow.
"""

import re
from typing import Final

from proxy.dialects.media import NAME

_WS: Final = rb"[ \t\n\r]*+"
_CHARS: Final = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
_STRING: Final = b'"' + _CHARS + b'"'
_PLAIN: Final = rb"(?:true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)(?=[ \t\n\r,\]}])"
_COMMA: Final = _WS + b"," + _WS
_VALUE: Final = b"(?:" + _STRING + b"|" + _PLAIN + b")"
space: Final = re.compile(_WS).match
chars: Final = re.compile(_CHARS).match
plain: Final = re.compile(_PLAIN).match
delimiter: Final = re.compile(rb"[ \t\n\r,\]}]").search
name: Final = re.compile(b"(" + _STRING + b")" + _WS + b":").match
plain_items: Final = re.compile(b"(?:" + _COMMA + _PLAIN + b")*+").match


def _object(name: bytes) -> bytes:
    """Return a pattern of objects of strings and scalars alone, whose names are all like `name`."""
    member = name + _WS + b":" + _WS + _VALUE
    return rb"\{" + _WS + member + b"(?:" + _COMMA + member + b")*+" + _WS + rb"\}"


_UNREMARKABLE: Final = b'"(?!' + NAME.encode() + rb'")[^"\\\x00-\x1f]*+"'
item: Final = re.compile(_COMMA + b"(?:" + _VALUE + b"|" + _object(_UNREMARKABLE) + b")").match
items: Final = re.compile(b"(?:" + _COMMA + b"(?:" + _VALUE + b"|" + _object(_STRING) + b"))*+").match
members: Final = re.compile(b"(?:" + _COMMA + _STRING + _WS + b":" + _WS + _VALUE + b")*+").match
begun_escape: Final = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?").fullmatch
