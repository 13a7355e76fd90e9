"""Answers of chat and completions as far as metering needs them: whole ones, and the events of a stream.

Structs that are decoded stand in modules of their own, without logic: compiling a module loses what `msgspec` has to know.
"""

from typing import Final

import msgspec

from proxy.reported import Reported

NULL: Final = msgspec.Raw(b"null")


class Choice(msgspec.Struct):
    """One choice, in an event or in a whole answer."""

    index: int = 0
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """What of an event matters here."""

    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Reported | None = None
    system_fingerprint: str | None = None
    error: msgspec.Raw = NULL


class _Ending(msgspec.Struct):
    finish_reason: str | None = None


class Body(msgspec.Struct):
    """What of a whole answer matters here."""

    id: str | None = None
    model: str | None = None
    usage: Reported | None = None
    choices: list[_Ending] = []


decode_chunk = msgspec.json.Decoder(Chunk).decode
decode_body = msgspec.json.Decoder(Body).decode
