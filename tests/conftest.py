"""What holds for every test, and how the tests are shared out when several processes run them (`pytest -n 3`)."""

import re

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("steady", deadline=None)  # no test may depend on being fast
settings.load_profile("steady")

FIRST = ("tests/faults/", "tests/integration/", "tests/cli/test_up.py", "tests/stream/test_service.py", "tests/deploy/")
"""What takes longest begins first, or one process would end long after the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long ones first."""

    def rank(item: pytest.Item) -> int:
        return next((i for i, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))

    items.sort(key=rank)


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist says nothing of its types
    """Gives the tests of a file to one process, since they share servers."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith("tests/faults/"):  # each has a system of its own
            return nodeid
        if file.startswith("tests/integration/"):
            parts = re.search(r"\b(embedded|real)\b", nodeid.rpartition("[")[2])
            return f"{file} {parts and parts[0]}"
        return file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    """Share the tests out as above, in the order above."""
    config.option.loadscopereorder = False
    return Together(config, log)
