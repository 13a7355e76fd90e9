"""The compose file's settings of Kafka, as the image turns them into properties, start a real broker."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import compose
from tests.servers import KAFKA_JARS, Server, free_port, listens

JAVA = ["java", "-Xmx512m", "-cp", f"{KAFKA_JARS}/*"]


def properties(folder: Path, port: int, controller: int) -> dict[str, str]:
    """Return the service's `KAFKA_…` variables as broker properties, on ports of this machine."""
    environment = compose.environment(compose.services()["kafka"])
    found = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in environment.items()}
    for old, new in {"9092": port, "9093": controller}.items():
        found = {name: re.sub(rf"(kafka)?:{old}\b", f"127.0.0.1:{new}", value) for name, value in found.items()}
    return {**found, "log.dirs": str(folder / "data")}


@pytest.mark.real
@pytest.mark.skipif(
    not KAFKA_JARS.is_dir() or shutil.which("java") is None, reason="Apache Kafka is not installed (make kafka)"
)
def test_kafka_starts_and_is_healthy(tmp_path: Path) -> None:
    port, controller = free_port(), free_port()
    file = tmp_path / "server.properties"
    chosen = properties(tmp_path, port, controller)
    file.write_text("\n".join(f"{name}={value}" for name, value in chosen.items()))
    cluster = compose.services()["kafka"]["environment"]["CLUSTER_ID"]
    format_log = [*JAVA, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file)]
    subprocess.run(format_log, check=True, capture_output=True)
    broker = Server([*JAVA, "kafka.Kafka", str(file)], "kafka", tmp_path / "kafka.log", lambda: listens(port))
    try:
        # What the health check's script runs.
        check = [*JAVA, "org.apache.kafka.tools.BrokerApiVersionsCommand", "--bootstrap-server", f"127.0.0.1:{port}"]
        assert subprocess.run(check, capture_output=True, check=False, timeout=120).returncode == 0
    finally:
        broker.stop()
