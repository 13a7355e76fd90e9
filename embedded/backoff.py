"""How long to wait before a part that died is started again. Pure."""

from typing import Final

FIRST_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 15.0
STEADY_SECONDS: Final = 30.0
"""A part that ran so long starts again without a record."""


def deaths_in_a_row(before: int, ran_seconds: float) -> int:
    """Return the count with the death that just happened."""
    return 1 if ran_seconds >= STEADY_SECONDS else before + 1


def wait_seconds(deaths: int) -> float:
    """Return the wait after so many deaths in a row: twice as long each time, up to a limit."""
    return min(FIRST_SECONDS * float(1 << min(deaths - 1, 16)), LONGEST_SECONDS)
