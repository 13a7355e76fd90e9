"""Forms with files (multipart/form-data): taken apart, and written anew from what was read.

They are read with the library that vLLM's own server reads them with, so that both see the same fields.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from proxy.dialects.base import BadRequestError

_NAME: Final = re.compile(rb"[A-Za-z0-9_]{1,64}(?:\[\])?")
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._ -]")
_TYPE: Final = re.compile(rb"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")
_MAX_PARTS: Final = 200


class Part(msgspec.Struct, frozen=True, gc=False):
    """A field, or, with a `filename`, a file. `kind` is a file's type."""

    name: str
    content: bytes
    filename: bytes | None = None
    kind: bytes | None = None


def boundary_of(content_type: bytes) -> bytes:
    """Return what divides the parts. Raises BadRequestError for what is no such form."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadRequestError("this endpoint takes `Content-Type: multipart/form-data` alone", "unsupported_media_type")
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise BadRequestError("the form must be UTF-8", "unsupported_media_type")
    return boundary


def take_apart(body: bytes, boundary: bytes) -> list[Part]:
    """Return the parts of a form. Raises BadRequestError."""
    reader = Reader(boundary)
    reader.write(body)
    reader.close()
    return reader.parts


def put_together(parts: Iterable[Part], boundary: bytes) -> bytes:
    """Write a form."""
    lines: list[bytes] = []
    for part in parts:
        lines += [head(part, boundary), part.content]
    lines += [b"--" + boundary + b"--", b""]
    return b"\r\n".join(lines)


def head(part: Part, boundary: bytes) -> bytes:
    """Write what stands before a part's content, but for the last line feed."""
    said = b'content-disposition: form-data; name="' + part.name.encode() + b'"'
    if part.filename is not None:
        said += b'; filename="' + part.filename + b'"'
    lines = [b"--" + boundary, said]
    if part.kind is not None:
        lines.append(b"content-type: " + part.kind)
    return b"\r\n".join([*lines, b""])


class Reader:
    """Gathers the `parts` of a form. Raises BadRequestError."""

    def __init__(self, boundary: bytes) -> None:
        self.parts: list[Part] = []
        self._finished = False
        self.begin()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self.begin,
                    "on_part_data": self.data,
                    "on_part_end": self.end,
                    "on_header_field": self.header_name,
                    "on_header_value": self.header_value,
                    "on_header_end": self.header_end,
                    "on_headers_finished": self.headers_finished,
                    "on_end": self.finish,
                },
            )
        except FormParserError as error:
            raise BadRequestError(f"the form cannot be read: {error}") from None

    def write(self, data: bytes) -> None:
        """Take bytes."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BadRequestError(f"the form cannot be read: {error}") from None

    def close(self) -> None:
        """Say that no more comes."""
        if not self._finished:
            raise BadRequestError("the form has no end")

    # -- called by the parser --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a part."""
        self._headers: dict[bytes, bytes] = {}
        self._content: list[bytes] = []
        self._name = self._value = b""

    def header_name(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a header's name."""
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of its value."""
        self._value += data[start:end]

    def header_end(self) -> None:
        """End a header."""
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of the part's content."""
        self._content.append(data[start:end])

    def headers_finished(self) -> None:
        """Find out what the part is."""
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name, filename = options.get(b"name", b""), options.get(b"filename")
        if not _NAME.fullmatch(name):
            raise BadRequestError("a field of the form has no name, or a strange one")
        if len(self.parts) == _MAX_PARTS:
            raise BadRequestError(f"the form has more than {_MAX_PARTS} fields")
        kind = self._headers.get(b"content-type", b"")
        self.part = Part(
            name=name.decode(),
            content=b"",
            filename=_UNSAFE.sub(b"_", filename)[:200] if filename is not None else None,
            kind=kind if filename is not None and _TYPE.fullmatch(kind) else None,
        )

    def end(self) -> None:
        """End a part."""
        self.parts.append(msgspec.structs.replace(self.part, content=b"".join(self._content)))

    def finish(self) -> None:
        """End the form."""
        self._finished = True
