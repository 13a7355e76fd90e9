"""Bytes cut into pieces, the same ones each time."""

import hashlib
from itertools import pairwise


def cut(data: bytes) -> list[bytes]:
    """Return up to nine pieces, at places that a hash of the data says."""
    digest = hashlib.sha256(data).digest()
    bounds = sorted({0, len(data), *(int.from_bytes(digest[i : i + 2]) % (len(data) + 1) for i in range(0, 16, 2))})
    return [data[start:end] for start, end in pairwise(bounds)]


def single(data: bytes) -> list[bytes]:
    """Return each byte alone."""
    return [data[place : place + 1] for place in range(len(data))]
