"""The embedded parts that the compose file's own services talk to."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.stand import Stand


@pytest.fixture(scope="session")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(tmp_path_factory.mktemp("compose"), stack)


@pytest.fixture(scope="session")
def migrated(stand: Stand) -> Stand:
    for _ in range(2):  # it runs at every start
        stand.migrate()
    return stand
