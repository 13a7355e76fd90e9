"""An event of a stream of chat or completions, as far as metering needs it."""

from typing import Final

import msgspec

from proxy.usage import Reported

NULL: Final = msgspec.Raw(b"null")


class Choice(msgspec.Struct):
    """One choice in an event."""

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


decode = msgspec.json.Decoder(Chunk).decode
