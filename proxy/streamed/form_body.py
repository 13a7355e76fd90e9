"""A form on its way: the content of its file passes, the other parts wait for the dialect, as in `proxy.streamed.json_body`."""

from typing import Final

from proxy import form
from proxy.dialects.base import BadRequestError

_FILE: Final = "file"


class FormBody(form.Reader):
    """One. `limit`: bytes of what waits. What must not be passed on raises BadRequestError."""

    def __init__(self, boundary: bytes, limit: int) -> None:
        super().__init__(boundary)
        self._boundary, self._limit = boundary, limit
        self._room = limit
        self._out: list[bytes] = []
        self._passes = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return what goes to vLLM now."""
        self._room -= len(data)
        self.write(data)
        if self._room < 0:
            raise BadRequestError(
                f"in a form of more than {self._limit} bytes, only the file `{_FILE}` may be large", "request_too_large"
            )
        out = b"".join(self._out)
        self._out.clear()
        return out

    def rest(self) -> bytes:
        """Return, at the end of the body, the form with the file left empty, for the dialect."""
        self.close()
        return form.put_together(self.parts, self._boundary)

    def tail(self, body: bytes) -> bytes:
        """Return what ends the body for vLLM. `body`: what the dialect wrote."""
        parts = form.take_apart(body, self._boundary)
        return form.put_together([part for part in parts if not _is_file(part)], self._boundary)

    # -- called by the parser --------------------------------------------------------------------------------------

    def headers_finished(self) -> None:
        """Begin to pass on what may be large."""
        super().headers_finished()
        self._passes = _is_file(self.part)
        if self._passes:
            self._out += [form.head(self.part, self._boundary), b"\r\n"]

    def data(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a part's content."""
        if self._passes:
            self._room += end - start
            self._out.append(data[start:end])
        else:
            super().data(data, start, end)

    def end(self) -> None:
        """End a part."""
        if self._passes:
            self._out.append(b"\r\n")
        self._passes = False
        super().end()


def _is_file(part: form.Part) -> bool:
    return part.name == _FILE and part.filename is not None
