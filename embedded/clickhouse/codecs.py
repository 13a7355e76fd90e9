"""Compressed bodies, both ways, in the encodings that ClickHouse clients use."""

import zlib
from collections.abc import Callable
from typing import Any, Final

import lz4.frame  # type: ignore[import-untyped]
import zstandard

_DECOMPRESSORS: Final[dict[str, Callable[[], Any]]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "deflate": zlib.decompressobj,
}
_COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "lz4": lz4.frame.compress,
    "zstd": lambda plain: zstandard.ZstdCompressor().compress(plain),
    "gzip": lambda plain: zlib.compress(plain, level=1, wbits=31),
    "deflate": lambda plain: zlib.compress(plain, level=1),
}


class CodecError(Exception):
    """A body is not in the encoding that its header names, or that encoding is unknown; the message says which."""


def decompress(body: bytes, encoding: str) -> bytes:
    """Return the plain body. Frames that follow one another are one body: clients write a frame for each block.

    Raises CodecError for an unknown encoding and for broken or cut data.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in _DECOMPRESSORS:
        raise CodecError(f"Content-Encoding {encoding} is unknown; send one of {', '.join(_DECOMPRESSORS)}")
    parts: list[bytes] = []
    while body:
        frame = _DECOMPRESSORS[encoding]()
        try:
            parts.append(frame.decompress(body))
        except (zlib.error, zstandard.ZstdError, RuntimeError) as error:
            raise CodecError(f"the body is no valid {encoding}: {error}") from error
        if not frame.eof:
            raise CodecError(f"the body ends within its {encoding} frame")
        body = frame.unused_data or b""
    return b"".join(parts)


def choose(accepted: str) -> str | None:
    """Return the encoding for an answer to this `Accept-Encoding`, None for plain."""
    names = {part.partition(";")[0].strip() for part in accepted.lower().split(",")}
    return next((name for name in _COMPRESS if name in names), None)


def compress(plain: bytes, encoding: str) -> bytes:
    """Return the body in one of the encodings that `choose` gives."""
    return _COMPRESS[encoding](plain)
