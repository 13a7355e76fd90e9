"""The commands and health checks of our containers, run outside containers against the embedded parts."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import compose
from tests.compose import SECRET
from tests.servers import ROOT, Server, free_port, listens

HEALTH_SECONDS = 20
OWN_PORTS = ("8080", "9464", "9465", "8090")


class Stand:
    """The parts that our containers talk to, and where they stand: compose's addresses → addresses on this machine."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("kafka", "redis", "clickhouse", "vllm", *OWN_PORTS)}
        for name in ("kafka", "redis", "clickhouse"):
            data = [] if name == "kafka" else ["--data-dir", str(folder / name)]
            command = [sys.executable, "-m", f"embedded.{name}", "--port", str(self.ports[name]), *data]
            self._start(stack, name, command)
        simulator = [sys.executable, "-m", "cli", "sim", "--listen", f"127.0.0.1:{self.ports['vllm']}"]
        self._start(stack, "vllm", simulator)

    def _start(self, stack: ExitStack, name: str, command: list[str]) -> None:
        port = self.ports[name]
        server = Server(command, f"127.0.0.1:{port}", self.folder / f"{name}.log", lambda: listens(port))
        stack.callback(server.stop)

    def rewrite(self, word: str) -> str:
        """Return a word of the compose file as it must be outside containers."""
        word = re.sub(r"postgresql://\S+", f"sqlite:///{self.folder}/weighbridge.db", word)
        word = word.replace("/var/lib/weighbridge", str(self.folder))
        for name in ("kafka", "redis", "clickhouse", "vllm"):
            word = re.sub(rf"\b{name}:\d+", f"127.0.0.1:{self.ports[name]}", word)
        for port in OWN_PORTS:
            word = re.sub(rf"\b(?:0\.0\.0\.0|127\.0\.0\.1):{port}\b", f"127.0.0.1:{self.ports[port]}", word)
        return word

    def command(self, service: str) -> list[str]:
        return [sys.executable, "-m", "cli", *map(self.rewrite, compose.services()[service]["command"])]

    def environment(self, service: str) -> dict[str, str]:
        ours = compose.environment(compose.services()[service])
        return {**clean(), **{name: self.rewrite(value) for name, value in ours.items()}}

    def healthy(self, service: str) -> bool:
        """Run the container's health check."""
        program, *words = compose.services()[service]["healthcheck"]["test"][1:]
        assert program == "python"
        check = [sys.executable, *map(self.rewrite, words)]
        return subprocess.run(check, env=clean(), capture_output=True, check=False, timeout=30).returncode == 0


def clean() -> dict[str, str]:
    """Return this process's environment without settings and proxies: a container has none."""
    return {name: value for name, value in os.environ.items() if not re.match(r"WEIGHBRIDGE_|(?i:\w+_proxy$)", name)}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(tmp_path_factory.mktemp("compose"), stack)


@pytest.fixture(scope="module")
def migrated(stand: Stand) -> Stand:
    for _ in range(2):  # it runs at every start
        done = subprocess.run(
            stand.command("migrate"),
            env=stand.environment("migrate"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return stand


@pytest.mark.parametrize("service", ["proxy", "stream", "api"])
def test_starts_is_healthy_and_stops_in_order(migrated: Stand, service: str) -> None:
    log = migrated.folder / f"{service}.log"
    assert not migrated.healthy(service), "the check must fail while nothing runs"
    server = Started(migrated, service, log)
    try:
        assert SECRET not in log.read_text()
        server.process.terminate()
        ended = server.process.wait(HEALTH_SECONDS)
        assert ended in {0, -signal.SIGTERM}, log.read_text()  # uvicorn finishes, then lets the signal have its way
    finally:
        server.stop()
    assert not migrated.healthy(service)


class Started(Server):
    """A service of the compose file, started with its command and environment; ready when its health check says so."""

    def __init__(self, stand: Stand, service: str, log: Path) -> None:
        self.environment = stand.environment(service)
        super().__init__(stand.command(service), service, log, lambda: self._healthy(stand, service))

    def start(self) -> None:
        """Start it with that environment alone."""
        program = ["env", "-i", *(f"{name}={value}" for name, value in self.environment.items()), *self.command]
        self.command = program
        super().start()

    def _healthy(self, stand: Stand, service: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return stand.healthy(service)


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
