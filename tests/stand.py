"""The compose file's own services outside containers: their commands, environments and health checks, on embedded parts."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests import compose
from tests.servers import ROOT, Server, free_port, listens

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
        return subprocess.run(check, env=clean(), capture_output=True, check=False, timeout=120).returncode == 0

    def migrate(self) -> None:
        """Run the service `migrate` to its end."""
        done = subprocess.run(
            self.command("migrate"),
            env=self.environment("migrate"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def clean() -> dict[str, str]:
    """Return this process's environment without settings and proxies: a container has none."""
    return {name: value for name, value in os.environ.items() if not re.match(r"WEIGHBRIDGE_|(?i:\w+_proxy$)", name)}


class Started(Server):
    """A service of the compose file, started with its command and environment; ready when its health check says so."""

    def __init__(self, stand: Stand, service: str) -> None:
        self.environment = stand.environment(service)
        log = stand.folder / f"{service}.log"
        super().__init__(stand.command(service), service, log, lambda: self._healthy(stand, service))

    def start(self) -> None:
        """Start it with that environment alone."""
        program = ["env", "-i", *(f"{name}={value}" for name, value in self.environment.items()), *self.command]
        self.command = program
        super().start()

    def _healthy(self, stand: Stand, service: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return stand.healthy(service)
