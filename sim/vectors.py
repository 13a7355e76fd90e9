"""Embeddings that can be made again: drawn from the prompt alone, of length one, in the forms that vLLM writes."""

import base64
import math
import struct
from random import Random
from typing import Final

from sim.engine import seed_of
from sim.prefix import Prompt

SIZE: Final = 128
"""Numbers in a vector."""
_DRAWN: Final = struct.Struct(f"<{SIZE}h")
_PACKED: Final = struct.Struct(f"<{SIZE}f")


def vector(prompt: Prompt, seed: int) -> list[float]:
    """Return the embedding of a prompt; `seed` is the simulator's own."""
    drawn = _DRAWN.unpack(Random(seed_of(prompt, None, seed)).randbytes(2 * SIZE))  # noqa: S311 # no secret
    length = math.sqrt(sum(number * number for number in drawn))
    return [number / length for number in drawn]


def likeness(one: list[float], other: list[float]) -> float:
    """Return the cosine of two vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def raw(numbers: list[float]) -> bytes:
    """Return a vector as 32-bit floats."""
    return _PACKED.pack(*numbers)


def in_base64(numbers: list[float]) -> str:
    """Return a vector as 32-bit floats in base64."""
    return base64.b64encode(raw(numbers)).decode()


def bits(numbers: list[float], *, signed: bool) -> list[int]:
    """Return the signs of a vector, eight a byte; a signed byte is moved by 128."""
    octets = (numbers[start : start + 8] for start in range(0, len(numbers), 8))
    packed = (sum((number >= 0) << (7 - place) for place, number in enumerate(octet)) for octet in octets)
    return [octet - 128 * signed for octet in packed]
