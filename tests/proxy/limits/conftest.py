import pytest

from tests.proxy import parts


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with parts.redis(tmp_path_factory.mktemp("limits")) as running:
        yield running
