"""Ranges against sets of numbers, which are obviously right."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream import completeness

SEQUENCES = st.sets(st.integers(1, 60))


def numbers(ranges: completeness.Ranges) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(st.lists(SEQUENCES, max_size=5))
def test_a_union_holds_what_its_parts_hold(parts: list[set[int]]) -> None:
    ranges = completeness.union(*map(completeness.of, parts))
    held = set().union(*parts)
    assert numbers(ranges) == held
    assert completeness.covered(ranges) == len(held)
    assert all(after[0] > before[1] + 1 for before, after in pairwise(ranges))


@given(SEQUENCES)
def test_contiguous_and_gaps(sequences: set[int]) -> None:
    ranges = completeness.of(sequences)
    expected = next(number for number in range(62) if number + 1 not in sequences)
    assert completeness.contiguous(ranges) == expected
    assert numbers(completeness.gaps(ranges)) == set(range(1, max(sequences, default=0))) - sequences


def test_gap_of_everything_before_the_first() -> None:
    ranges = completeness.of([4])
    assert completeness.contiguous(ranges) == 0
    assert completeness.gaps(ranges) == ((1, 3),)
