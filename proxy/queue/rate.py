"""How many are let in a second, of late: counted over two stretches of time, the present one and the one before. Pure."""

from typing import Final

from proxy.queue.board import RATE, Words

STRETCH: Final = 10_000
"""Milliseconds."""
_SINCE: Final = RATE
_NOW: Final = RATE + 1
_BEFORE: Final = RATE + 2


def count(words: Words, now: int) -> None:
    """Note that one was let in."""
    passed = now - words[_SINCE]
    if passed >= STRETCH:
        again = passed < 2 * STRETCH
        words[_BEFORE] = words[_NOW] if again else 0
        words[_SINCE] = words[_SINCE] + STRETCH if again else now
        words[_NOW] = 0
    words[_NOW] += 1


def per_second(words: Words, now: int) -> float:
    """Return the pace; 0 when it is not known."""
    passed = now - words[_SINCE]
    if passed >= 2 * STRETCH:
        return 0.0
    before = words[_BEFORE]
    return (before + words[_NOW]) * 1000 / max(passed + (STRETCH if before else 0), 1000)
