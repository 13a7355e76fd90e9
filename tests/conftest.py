"""What holds for every test."""

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None)  # no test may depend on being fast
settings.load_profile("steady")


FIRST = ("tests/faults/", "tests/integration/", "tests/cli/test_up.py", "tests/stream/test_service.py", "tests/deploy/")
"""What takes longest begins first, or one process would end long after the others."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests share a process when several run: those of a file, which share its servers."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    file = item.nodeid.partition("::")[0]
    if file.startswith("tests/faults/"):  # each has a system of its own
        return item.nodeid
    parts = getattr(item, "callspec", None)
    if file.startswith("tests/integration/") and parts is not None:
        return f"{file}[{parts.params.get('system')}]"
    return file
