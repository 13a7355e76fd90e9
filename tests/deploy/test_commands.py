"""The commands and health checks of our containers, run outside containers against the embedded parts."""

import shutil
import signal
import subprocess
import sys

import pytest

from tests import compose
from tests.compose import SECRET
from tests.servers import ROOT
from tests.stand import Stand, Started, clean

STOP_SECONDS = 120


@pytest.mark.parametrize("service", ["proxy", "stream", "api"])
def test_starts_is_healthy_and_stops_in_order(migrated: Stand, service: str) -> None:
    log = migrated.folder / f"{service}.log"
    assert not migrated.healthy(service), "the check must fail while nothing runs"
    server = Started(migrated, service)
    try:
        assert SECRET not in log.read_text()
        server.process.terminate()
        ended = server.process.wait(STOP_SECONDS)
        assert ended in {0, -signal.SIGTERM}, log.read_text()  # uvicorn finishes, then lets the signal have its way
    finally:
        server.stop()
    assert not migrated.healthy(service)


@pytest.mark.parametrize("service", ["proxy", "stream", "api", "migrate"])
def test_takes_its_flags(service: str) -> None:
    command = compose.services()[service]["command"]
    helped = subprocess.run(
        [sys.executable, "-m", "cli", command[0], "--help"],
        cwd=ROOT, env={**clean(), "COLUMNS": "200"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert helped.returncode == 0, helped.stderr
    for flag in (word for word in command if word.startswith("--")):
        assert flag in helped.stdout


def test_a_wrong_setting_stops_the_start_with_its_name(stand: Stand) -> None:
    environment = {**stand.environment("api"), "WEIGHBRIDGE_API_TOKEN": "short"}
    done = subprocess.run(stand.command("api"), env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "WEIGHBRIDGE_API_TOKEN" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not installed")
def test_prometheus_takes_its_files() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(ROOT / "deploy" / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout
