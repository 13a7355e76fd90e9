"""Reading what a dead process left in its spool. Pure: files in, values out; nothing is changed.

What was synced is a prefix of what was appended, so reading stops at the first record that is missing, harmed or out of
sequence: the torn tail was never published and is never trusted, not even where whole records follow it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from proxy.spool import record
from proxy.spool.backlog import PIECE
from proxy.spool.header import Header
from proxy.spool.record import DRAFT, FINAL, Kind, Record
from proxy.spool.segment import SUFFIX


@dataclass(slots=True)
class Span:
    """Where events `first` to `last` stand in their segment; `size` is the bytes of the events alone."""

    start: int
    end: int
    first: int
    last: int
    size: int


@dataclass(frozen=True)
class Found:
    """A segment that can be trusted up to `end`; `sealed`: its writer, or whoever adopted it, ended it on purpose."""

    number: int
    end: int
    sealed: bool
    spans: list[Span]


@dataclass(frozen=True)
class Recovery:
    """A spool as its process left it. `drafts` are the openings without a close; `rejected` files hold nothing to trust."""

    header: Header
    last_sequence: int
    segments: list[Found]
    drafts: dict[bytes, Record]
    rejected: list[Path]


class _Reader:
    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.header: Header | None = None
        self.last_sequence = 0
        self.drafts: dict[bytes, Record] = {}

    def segment(self, data: bytes, number: int) -> Found | None:
        records = record.scan(data)
        first = next(records, None)
        if first is None or not self._begins(first, number):
            return None
        return self._rest(records, first.end, number)

    def _begins(self, first: Record, number: int) -> bool:
        if first.kind != Kind.HEADER:
            return False
        header = msgspec.json.decode(first.body, type=Header)
        if header.epoch != self.epoch or header.number != number:
            return False
        if self.header is None:
            self.header, self.last_sequence = header, first.sequence
        return first.sequence == self.last_sequence

    def _rest(self, records: Iterator[Record], end: int, number: int) -> Found:
        spans: list[Span] = []
        for entry in records:
            if entry.kind == Kind.END:
                return Found(number, end, sealed=True, spans=spans)
            if entry.kind in FINAL:
                if entry.sequence != self.last_sequence + 1:
                    break
                self.last_sequence = entry.sequence
                extend(spans, end, entry)
            if entry.kind == Kind.USAGE:
                self.drafts.pop(entry.request_id, None)
            elif entry.kind in DRAFT:
                self.drafts[entry.request_id] = entry
            end = entry.end
        return Found(number, end, sealed=False, spans=spans)


def extend(spans: list[Span], start: int, entry: Record) -> None:
    """Add an event that stands at `start`; neighbours share a span of up to PIECE bytes, so that memory stays small."""
    size = len(entry.body)
    if spans and spans[-1].size + size <= PIECE:
        spans[-1].end, spans[-1].last = entry.end, entry.sequence
        spans[-1].size += size
    else:
        spans.append(Span(start, entry.end, entry.sequence, entry.sequence, size))


def recover(folder: Path) -> Recovery | None:
    """Read the spool in `folder`, which is named after its epoch. None: it holds nothing to trust, not even a header.

    Reads all of it into memory, a segment at a time; call it in a thread. Raises OSError.
    """
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    reader = _Reader(folder.name)
    segments: list[Found] = []
    for path in paths:
        number = int(path.stem)
        if segments and (not segments[-1].sealed or number != segments[-1].number + 1):
            break
        found = reader.segment(path.read_bytes(), number)
        if found is None:
            break
        segments.append(found)
    if reader.header is None:
        return None
    return Recovery(reader.header, reader.last_sequence, segments, reader.drafts, paths[len(segments) :])
