"""The first record of a segment says whose it is."""

import msgspec


class Header(msgspec.Struct, frozen=True):
    """Whose spool a segment belongs to; written first in each."""

    producer: str
    epoch: str
    number: int

    def following(self, number: int) -> bytes:
        """Return the body of the header of another segment of this spool."""
        return msgspec.json.encode(msgspec.structs.replace(self, number=number))
