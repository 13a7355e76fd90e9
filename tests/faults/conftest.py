"""A system of its own for every fault test: a part that was killed may not colour the next test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import MODEL, Simulator, System


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A fake vLLM that takes its time, so that a kill meets streams at work."""
    running = Simulator(tmp_path, "--model", MODEL, "--tokens-per-second", "400")
    yield running
    running.stop()


@pytest.fixture
def system(simulator: Simulator, tmp_path: Path) -> Iterator[System]:
    """`weighbridge up` on embedded parts, in front of the simulator."""
    running = System(tmp_path, simulator.url)
    yield running
    running.stop()
