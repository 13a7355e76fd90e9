"""One record of the spool: length, CRC, kind, sequence, request id, tenant, body.

Layout, little-endian: `length` (u32, bytes after the first eight), `crc` (u32, CRC-32 of those bytes), `kind` (u8), size of
the request id (u8), size of the tenant (u16), `sequence` (u64), request id, tenant, body. Where nothing was written yet a
file holds zeros, and no record has length 0.
"""

import struct
from collections.abc import Iterator
from typing import Final
from zlib import crc32


class Kind:
    """What a record says, as a number: not an enumeration, whose members cost a look-up at every request.

    `sequence` counts REQUEST, USAGE and ADMITTED; HEADER repeats the last one given before it.
    """

    HEADER: Final = 1
    """First in a segment; body: `Header` as JSON."""
    REQUEST: Final = 2
    """The event of a request that was denied or is not metered, ready to be published."""
    USAGE: Final = 3
    """A usage event, ready to be published; ends what ADMITTED or OPEN began."""
    OPEN: Final = 4
    """A draft of the usage event of a request that still runs; replaces what stands of the same request id before it."""
    PAD: Final = 5
    """Nothing until the end of the page. `sequence` is its whole size."""
    END: Final = 6
    """The segment ends here on purpose; what follows in the file means nothing."""
    ADMITTED: Final = 7
    """The event of a request that was admitted, ready to be published; until USAGE comes it is a draft too, as OPEN is."""


FINAL = frozenset({Kind.REQUEST, Kind.USAGE, Kind.ADMITTED})
"""Kinds that carry a sequence of their own and are published."""
DRAFT = frozenset({Kind.OPEN, Kind.ADMITTED})
"""Kinds from which the end of a request is written when its process dies."""


class Record:
    """A record; `end` is where the next one starts."""

    __slots__ = ("body", "end", "kind", "request_id", "sequence", "tenant")

    def __init__(self, kind: int, sequence: int, request_id: bytes, tenant: bytes, body: bytes, end: int) -> None:
        self.kind = kind
        self.sequence = sequence
        self.request_id = request_id
        self.tenant = tenant
        self.body = body
        self.end = end


_PREFIX = struct.Struct("<II")
_FIELDS = struct.Struct("<BBHQ")
_WHOLE = struct.Struct("<IIBBHQ")
OVERHEAD = _WHOLE.size
_pack_prefix: Final = _PREFIX.pack
_pack_fields: Final = _FIELDS.pack
_unpack: Final = _WHOLE.unpack_from


def encode(kind: int, sequence: int, request_id: bytes, tenant: bytes, body: bytes) -> bytes:
    """Return the record's bytes. Raises struct.error when the id is over 255 or the tenant over 65,535 bytes."""
    names = _pack_fields(kind, len(request_id), len(tenant), sequence) + request_id + tenant
    return b"".join((_pack_prefix(len(names) + len(body), crc32(body, crc32(names))), names, body))


def padding(size: int) -> bytes:
    """Return the start of `size` bytes of nothing; `size` is at least OVERHEAD. The rest need not be written."""
    return encode(Kind.PAD, size, b"", b"", b"")


def read(data: bytes, offset: int) -> Record | None:
    """Return the record at `offset`, or None when there is none that is whole and unharmed."""
    if offset + OVERHEAD > len(data):
        return None
    length, crc, kind, id_size, tenant_size, sequence = _unpack(data, offset)
    start, end = offset + _PREFIX.size, offset + _PREFIX.size + length
    if length < _FIELDS.size + id_size + tenant_size or end > len(data):
        return None
    if crc32(memoryview(data)[start:end]) != crc:
        return None
    if kind == Kind.PAD:
        return Record(kind, 0, b"", b"", b"", offset + max(sequence, OVERHEAD))
    tenant_at = offset + OVERHEAD + id_size
    body_at = tenant_at + tenant_size
    return Record(kind, sequence, data[offset + OVERHEAD : tenant_at], data[tenant_at:body_at], data[body_at:end], end)


def scan(data: bytes, offset: int = 0) -> Iterator[Record]:
    """Yield records from `offset` up to the first that is missing, harmed or END (which is yielded)."""
    while (record := read(data, offset)) is not None:
        yield record
        if record.kind == Kind.END:
            return
        offset = record.end
