"""The simulator's own log: one JSON line a request, so that a meter can be compared with what was really generated.

A line is written with one system call before the request's last byte goes out, so whoever has the answer finds the line, and
it stays when the simulator is killed.
"""

import os
from pathlib import Path
from typing import Literal

import msgspec

Outcome = Literal["finished", "aborted", "failed", "broken", "dropped"]
"""How a request ended: whole; cut by the client; refused with 500; ended by an error event; connection broken on purpose."""


class Entry(msgspec.Struct, kw_only=True):
    """What is written of a request.

    `request_id` is the X-Request-Id it came with, or one of the simulator's own; `engine_prompt_tokens` is what the request
    added to vLLM's counter of prompt tokens (see `sim.metrics`).
    """

    at: str
    request_id: str
    path: str
    model: str
    stream: bool
    choices: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    engine_prompt_tokens: int
    outcome: Outcome


class Journal:
    """Appends entries to a file, or to nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    @property
    def on(self) -> bool:
        """Whether anything is written."""
        return self._file is not None

    def write(self, entry: Entry) -> None:
        """Append one line; raises OSError when the disk does not take it."""
        if self._file is not None:
            os.write(self._file, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read(path: Path) -> list[Entry]:
    """Return the entries of a log; a line that is only half written is not there yet."""
    lines = path.read_bytes().split(b"\n")
    return [msgspec.json.decode(line, type=Entry) for line in lines[:-1]]
