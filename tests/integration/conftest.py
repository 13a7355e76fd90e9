"""One suite, two sets of parts: the embedded ones, and Apache Kafka, redis-server and PostgreSQL."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import servers
from tests.system import MODEL, Simulator, System


@pytest.fixture(scope="session", params=["embedded", pytest.param("real", marks=pytest.mark.real)])
def system(
    request: pytest.FixtureRequest, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """`weighbridge up` in front of the simulator."""
    folder = tmp_path_factory.mktemp(f"up-{request.param}")
    with ExitStack() as stack:
        environment = _real_parts(stack, folder) if request.param == "real" else {}
        running = System(folder, simulator.url, environment)
        stack.callback(running.stop)
        yield running


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A fake vLLM with a log of its own."""
    running = Simulator(tmp_path_factory.mktemp("sim"), "--model", MODEL)
    yield running
    running.stop()


def _real_parts(stack: ExitStack, folder: Path) -> dict[str, str]:
    absent = servers.missing()
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    return {
        "WEIGHBRIDGE_KAFKA_BOOTSTRAP_SERVERS": stack.enter_context(servers.kafka_broker(folder)).address,
        "WEIGHBRIDGE_REDIS_URL": stack.enter_context(servers.redis_server(folder)).address,
        "WEIGHBRIDGE_DATABASE_URL": stack.enter_context(servers.postgres_server(folder)).address,
    }
