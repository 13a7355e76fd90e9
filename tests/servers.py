"""Real servers for tests, each a process of its own on a free port of 127.0.0.1, gone when the test ends.

`missing()` says what is not installed on this machine, so that a test can be left out aloud.
"""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KAFKA_JARS = ROOT / ".tools" / "kafka" / "lib"

LOWEST_PORT = 10_000
PROCESSES = 16
"""Processes of a test run that draw ports of their own."""
IN_A_ROW = 8
"""Ports that follow each other, of those that one draws."""

KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/log
num.partitions=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
"""


class Server:
    """A running server: where it listens, and its process, to be killed or stopped by a test and started again."""

    def __init__(self, command: list[str], address: str, log: Path, ready: Callable[[], bool], user: str | None = None):
        self.command, self.address, self.log, self.ready, self.user = command, address, log, ready, user
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, user=self.user)
        wait_until(self.ready, 120, f"{self.command[0]} to answer; its log: {self.log}")

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def _own_ports() -> Iterator[int]:
    """Yield, for ever, the first of `IN_A_ROW` ports that neither the kernel gives to connections nor another process uses."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    low = low if low > LOWEST_PORT + 1000 else 32_768
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = range(LOWEST_PORT + process % PROCESSES * IN_A_ROW, low - IN_A_ROW, PROCESSES * IN_A_ROW)
    return islice(cycle(mine), random.randrange(len(mine)), None)  # two test runs on one machine start elsewhere


_ports = _own_ports()


def free_port(in_a_row: int = 1) -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on, and that nobody gets by chance before the caller uses it.

    Nor do they listen on those that follow it, so many `in_a_row` (at most `IN_A_ROW`).
    """
    assert in_a_row <= IN_A_ROW
    for first in _ports:
        with ExitStack() as probes, suppress(OSError):
            for port in range(first, first + in_a_row):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError("the ports go round for ever")


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until the condition holds; raises TimeoutError naming `what`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.1)


def listens(port: int) -> bool:
    """Say whether something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def missing() -> list[str]:
    """Name the real servers that cannot be started here."""
    needs = {
        "Apache Kafka (make kafka)": KAFKA_JARS.is_dir() and shutil.which("java"),
        "redis-server": shutil.which("redis-server"),
        "PostgreSQL": postgres_binaries(),
    }
    return [name for name, found in needs.items() if not found]


def postgres_binaries() -> Path | None:
    """Return the folder of PostgreSQL's server programs: Debian keeps them out of PATH."""
    on_path = [Path(found).resolve().parent] if (found := shutil.which("postgres")) else []
    return max([*on_path, *Path("/usr/lib/postgresql").glob("*/bin")], default=None)


@contextmanager
def redis_server(folder: Path) -> Iterator[Server]:
    """Run a redis-server; `address` is its URL."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes"]
    server = Server(command, f"redis://127.0.0.1:{port}/0", folder / "redis.log", lambda: listens(port))
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def kafka_broker(folder: Path) -> Iterator[Server]:
    """Run an Apache Kafka broker; `address` is its bootstrap server."""
    port, controller = free_port(), free_port()
    properties = folder / "server.properties"
    properties.write_text(KAFKA_PROPERTIES.format(port=port, controller=controller, folder=folder))
    java = ["java", "-Xmx512m", "-cp", f"{KAFKA_JARS}/*"]
    tool = [*java, "kafka.tools.StorageTool"]
    cluster = subprocess.run([*tool, "random-uuid"], check=True, capture_output=True, text=True).stdout.split()[-1]
    subprocess.run([*tool, "format", "--standalone", "-t", cluster, "-c", properties], check=True, capture_output=True)
    command = [*java, "kafka.Kafka", str(properties)]
    server = Server(command, f"127.0.0.1:{port}", folder / "kafka.log", lambda: listens(port))
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def postgres_server(folder: Path) -> Iterator[Server]:
    """Run a PostgreSQL of its own; `address` is its URL."""
    port, binaries = free_port(), postgres_binaries()
    assert binaries is not None, "ask missing() first"
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    data = folder / "postgres"
    data.mkdir()
    if user:
        os.chown(data, pwd.getpwnam(user).pw_uid, -1)
        for parent in [folder, *folder.parents]:  # pytest's folders are closed to others
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "weighbridge", "-A", "trust", "-N"]
    subprocess.run(initdb, check=True, capture_output=True, user=user)
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(data)]
    address = f"postgresql://weighbridge@127.0.0.1:{port}/postgres"
    ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    server = Server(
        command, address, folder / "postgres.log", lambda: subprocess.run(ready, check=False).returncode == 0, user
    )
    try:
        yield server
    finally:
        server.stop()
