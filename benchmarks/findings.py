"""What a measurement says: text for people, and figures that goals are set for."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Goal:
    """A figure and what it must reach. `value` is None where it was not measured; `unit` is written after both."""

    what: str
    sign: Literal["≥", "≤"]
    bound: float
    unit: str
    value: float | None

    @property
    def met(self) -> bool | None:
        """Whether the figure reaches the bound; None: nobody knows."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.sign == "≥" else self.value <= self.bound

    def line(self) -> str:
        """Return the goal as a line of a Markdown list."""
        verdict = {True: "met", False: "**missed**", None: "not measured"}[self.met]
        figure = "" if self.value is None else f" ({self.value:.2f})"
        return f"- {self.what} {self.sign} {self.bound:g}{self.unit}: {verdict}{figure}"


@dataclass(frozen=True)
class Findings:
    """A section of the page. `text` is Markdown, without a heading."""

    text: str
    goals: list[Goal] = field(default_factory=list)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table: names on the left, figures on the right."""
    names = list(head)
    lines = [f"| {' | '.join(names)} |", "| --- |" + " ---: |" * (len(names) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def shown(value: float | None, write: Callable[[float], str]) -> str:
    """Return a figure as it is written, or a dash where there is none."""
    return "–" if value is None else write(value)


def micro(seconds: float) -> str:
    """Return a time in microseconds."""
    return f"{seconds * 1e6:.1f} µs"


def milli(seconds: float) -> str:
    """Return a time in milliseconds."""
    return f"{seconds * 1e3:.2f} ms"


def mega(size: float) -> str:
    """Return a size in megabytes."""
    return f"{size / 1e6:.1f} MB"


def percentile(values: list[float], share: float) -> float:
    """Return the least value that `share` of all do not exceed; raises IndexError where there are none."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]
