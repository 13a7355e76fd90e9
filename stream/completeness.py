"""Which sequences of an epoch the ledger holds, as ranges. Pure.

Ranges are inclusive pairs `(first, last)`, ascending, with at least one missing sequence between two of them. Taking a union
is all that ever happens to them, so the order and number of deliveries do not matter.
"""

from collections.abc import Iterable

Range = tuple[int, int]
Ranges = tuple[Range, ...]


def of(sequences: Iterable[int]) -> Ranges:
    """Return sequences as ranges."""
    return union((sequence, sequence) for sequence in set(sequences))


def union(*parts: Iterable[Range]) -> Ranges:
    """Return what any of the parts holds; the parts may overlap and need no order."""
    merged: list[Range] = []
    for first, last in sorted(pair for part in parts for pair in part):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def contiguous(ranges: Ranges) -> int:
    """Return the highest sequence up to which nothing is missing, 0 when the first is."""
    return ranges[0][1] if ranges and ranges[0][0] == 1 else 0


def covered(ranges: Ranges) -> int:
    """Return how many sequences the ranges hold."""
    return sum(last - first + 1 for first, last in ranges)


def gaps(ranges: Ranges) -> Ranges:
    """Return what is missing below the highest sequence."""
    ends = [0, *(last for _, last in ranges)]
    return tuple(
        (before + 1, first - 1) for before, (first, _) in zip(ends, ranges, strict=False) if first > before + 1
    )
