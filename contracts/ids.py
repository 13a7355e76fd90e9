"""Identifiers: a prefix that says what a thing is, then a ULID-like part that sorts by time of creation."""

import secrets
from typing import Final

BASE32: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u to misread


def new_id(prefix: str, now_ms: int) -> str:
    """Return a new id such as `ten_01j…`: 48 bits of Unix milliseconds and 80 random bits, in 26 characters."""
    return f"{prefix}_{base32(now_ms << 80 | secrets.randbits(80), 26)}"


def base32(number: int, width: int) -> str:
    """Write a non-negative number in Crockford's base 32, padded with zeros to `width`."""
    return "".join(BASE32[number >> 5 * place & 31] for place in reversed(range(width)))
