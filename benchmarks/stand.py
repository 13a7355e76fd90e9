"""What every measurement is given: where it may write, how long it may take, and whom to measure beside."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import Start
from benchmarks.findings import Findings
from benchmarks.processes import Contestant


@dataclass(frozen=True)
class Plan:
    """How much is measured. Rates are the best of `rounds`, since other programs can only slow them down."""

    seconds: int = 3
    rounds: int = 3
    steady_seconds: float = 10.0
    events: int = 80_000
    """Events of each measurement of streams."""
    open_streams: int = 10_000
    open_seconds: float = 15.0
    growth: tuple[int, int] = (20_000, 120_000)
    """Between which requests the growth of memory is looked at."""
    flood_bytes: int = 200_000_000
    prompts: int = 60
    """Prompts of each run of `vllm bench serve`."""
    revocations: int = 1000

    @classmethod
    def quick(cls) -> "Plan":
        """Just long enough to see that all of it works."""
        return cls(1, 1, 2.0, 8_000, 500, 2.0, (2_000, 6_000), 20_000_000, 20, 50)


@dataclass(frozen=True)
class Stand:
    """Where a run takes place. `others`: contestants beside nginx, by name."""

    folder: Path
    plan: Plan
    others: dict[str, Start]

    @contextmanager
    def running(self, start: Start, target: int) -> Iterator[Contestant]:
        """Run a contestant in front of the upstream on port `target`, in a folder of its own."""
        with self.scratch() as name, start(Path(name), target) as contestant:
            yield contestant

    def scratch(self) -> "tempfile.TemporaryDirectory[str]":
        """Return a folder that is gone when the block ends."""
        return tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True)


Part = Callable[[Stand], Findings]
"""One measurement: runs what it needs, and says what it found. Raises LoadError, or RuntimeError when a process fails."""
