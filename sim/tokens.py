"""A tokenizer that can be checked by hand: four UTF-8 bytes are one token, and an id says which bytes it stands for.

The id of a single byte is the byte, as in vLLM's byte-level vocabularies; a longer piece has a 1 in front, so that pieces
of different length never share an id.
"""

from collections.abc import Iterable
from typing import Final

PIECE: Final = 4
"""Bytes in a token; the last of a text may have fewer."""


def count(text: bytes) -> int:
    """Return how many tokens a text has."""
    return -(-len(text) // PIECE)


def encode(text: bytes) -> list[int]:
    """Return the ids of a text's tokens."""
    return [id_of(text[start : start + PIECE]) for start in range(0, len(text), PIECE)]


def id_of(piece: bytes) -> int:
    """Return the id of one token, given its one to four bytes."""
    return piece[0] if len(piece) == 1 else int.from_bytes(b"\x01" + piece)


def bytes_of(token: int) -> bytes:
    """Return the bytes that an id stands for. Any non-negative id stands for something, as long as it is an integer."""
    if token < 256:
        return bytes((token,))
    raw = token.to_bytes((token.bit_length() + 7) // 8)
    return raw[1:] if raw[0] == 1 else raw


def decode(ids: Iterable[int]) -> str:
    """Return the text of some ids; what is no UTF-8 becomes the replacement character, as in vLLM."""
    return b"".join(map(bytes_of, ids)).decode(errors="replace")


_WORDS: Final = (
    " the| of| to| and| a| in| is| it| was| as| be| on| by| or| at| an| not| for| we| he| so| if| no| up| me| my| do| go| us"
    "|ing|er|ed|ly|al|en|ion|es|or|ti|ent|ic|ate|is|ous|ful|re|un|s|y|ve|th|ch|st|nd|ar|on|it"
    "| tol|l| wei|gh| tok|en| cos|t| kil|o| ton| axl|e| lor|ry| sca|le|.|,|;|:|?|!| -| (|)| 1| 20| 300|0|7"
)
VOCABULARY: Final[tuple[str, ...]] = (
    *_WORDS.split("|"),
    *(
        '"',
        "\n",
        "\\",
        "{",
        "}",
        '"}',
        "[",
        "]",
        "é",
        " ü",
        "€",
        "✓",
        "<",
        "&",
        "\t",
        "",
    ),  # what a reader of JSON trips over
)
"""What the simulator says. One piece, the empty one, shows nothing: half a character of a real vocabulary."""

TOKEN_IDS: Final = tuple(id_of(word.encode()) if word else 0xEF for word in VOCABULARY)
"""The ids of the vocabulary's pieces."""
