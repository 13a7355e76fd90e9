"""Failures on demand: by a header, for tests that must not be left to chance, or by the rates of the settings."""

from random import Random
from typing import Final, Literal, cast, get_args

from sim.settings import SimSettings

Fault = Literal["error", "break", "drop"]
HEADER: Final = b"x-sim-fault"
"""A request header that asks for a failure: error, break or drop."""
_NAMES: Final = frozenset(get_args(Fault))


class Faults:
    """Decides which requests fail, in the same order for the same seed."""

    def __init__(self, settings: SimSettings) -> None:
        self._rates: tuple[tuple[Fault, float], ...] = (
            ("error", settings.sim_error_rate),
            ("break", settings.sim_break_rate),
            ("drop", settings.sim_drop_rate),
        )
        self._any = any(rate for _, rate in self._rates)
        self._random = Random(settings.sim_seed)  # noqa: S311 # failures on demand, no secrets

    def draw(self, headers: dict[bytes, bytes], max_tokens: int) -> tuple[Fault | None, int]:
        """Return a request's fault, if it has one, and the token after which it strikes."""
        asked = headers.get(HEADER)
        fault = self._by_chance() if asked is None else _named(asked.decode("latin-1"))
        return fault, self._random.randint(1, min(16, max_tokens)) if fault else 0

    def _by_chance(self) -> Fault | None:
        if not self._any:
            return None
        drawn = self._random.random()
        for fault, rate in self._rates:
            if drawn < rate:
                return fault
            drawn -= rate
        return None


def _named(asked: str) -> Fault | None:
    return cast(Fault, asked) if asked in _NAMES else None
