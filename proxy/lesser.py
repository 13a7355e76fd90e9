"""Principals without a limit that is used up, for requests that another model answers: made once, so that limits know them."""

from typing import Final

import msgspec

from contracts.limits import Held
from proxy.ports import Principal

KEPT: Final = 1_000


class Lesser:
    """The newest of them."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[Principal, Principal]] = {}

    def without(self, who: Principal, held: Held) -> Principal:
        """Return somebody without one of their limits: the same object for the same question."""
        known = self._known.get((id(who), held.name))
        if known is not None:
            return known[1]
        left = tuple(each for each in who.limits if each is not held)
        lesser = msgspec.structs.replace(who, limits=left)
        self._known[id(who), held.name] = who, lesser  # with `who`, whose id nobody else has as long as it is kept
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        return lesser
