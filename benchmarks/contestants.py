"""What is measured: processes that all pass requests on to the same upstream, each on a free port, gone at the end."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from contracts import keys, projection, redis_keys
from contracts.clock import utc_now
from contracts.projection import KeyRecord, Marker, SubjectRecord

HOST = "127.0.0.1"
ROOT = Path(__file__).parent.parent
PEPPER = "the pepper of a benchmark"
TENANT = "ten_01benchmark"
CHUNKS, GAP = 64, 0.002

NGINX = """\
daemon off; master_process on; worker_processes 1; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000;
  upstream server {{ server {host}:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen {host}:{port} backlog=4096;
    location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""


@dataclass(frozen=True)
class Contestant:
    """A running proxy (or the upstream itself): where it listens, and its process, whose CPU and memory count."""

    name: str
    port: int
    process: psutil.Process | None
    key: str = "none"

    def processes(self) -> list[psutil.Process]:
        """The process and its children."""
        return [] if self.process is None else [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """CPU used so far."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(time.user + time.system for time in times)

    def resident_bytes(self) -> int:
        """Memory that is resident, mapped files included; what processes share is counted once."""
        return sum(process.memory_full_info().pss for process in self.processes())


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something takes connections on a port."""
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def started(
    command: list[str], log: Path, ready: Callable[[], bool], **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; raises RuntimeError with its output when it does not come up within a minute."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 60
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def upstream(folder: Path) -> Iterator[Contestant]:
    """The server behind all of them."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.upstream", str(port), str(CHUNKS), str(GAP)]
    with started(command, folder / "upstream.log", lambda: listens(port)):
        yield Contestant("no proxy", port, None)


@contextmanager
def nginx(folder: Path, target: int) -> Iterator[Contestant]:
    """Nginx with one worker, keep-alive on both sides, no log, and no buffering, so that events pass as they come."""
    port, home = free_port(), folder / "nginx"
    home.mkdir()
    config = home / "nginx.conf"
    config.write_text(NGINX.format(folder=home, host=HOST, port=port, upstream=target))
    command = ["nginx", "-p", str(home), "-c", str(config)]
    with started(command, folder / "nginx.log", lambda: listens(port)) as process:
        yield Contestant("nginx", port, psutil.Process(process.pid))


@contextmanager
def mitmdump(folder: Path, target: int) -> Iterator[Contestant]:
    """Mitmproxy as it comes, told to pass bodies on as they arrive and to print nothing."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("mitmdump")), "-q", "--mode", f"reverse:http://{HOST}:{target}"]
    command += ["--listen-host", HOST, "-p", str(port), "--set", "stream_large_bodies=1"]
    command += ["--set", f"confdir={folder / 'mitmproxy'}"]
    with started(command, folder / "mitmdump.log", lambda: listens(port)) as process:
        yield Contestant("mitmdump", port, psutil.Process(process.pid))


@contextmanager
def weighbridge(folder: Path, target: int) -> Iterator[Contestant]:
    """This proxy with one worker and everything on: keys in Redis, spool, events to Kafka and their acknowledgement."""
    port, admin, store, broker = (free_port() for _ in range(4))
    with ExitStack() as stack:
        serve = [sys.executable, "-m", "embedded.redis", "--port", str(store), "--data-dir", str(folder / "redis")]
        stack.enter_context(started(serve, folder / "redis.log", lambda: listens(store)))
        serve = [sys.executable, "-m", "embedded.kafka", "--port", str(broker)]
        stack.enter_context(started(serve, folder / "kafka.log", lambda: listens(broker)))
        serve = [sys.executable, "-m", "benchmarks.ledger", f"{HOST}:{broker}"]
        stack.enter_context(started(serve, folder / "ledger.log", lambda: True))
        key = project_key(store)
        settings = {
            "WEIGHBRIDGE_KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{broker}",
            "WEIGHBRIDGE_REDIS_URL": f"redis://{HOST}:{store}/0",
            "WEIGHBRIDGE_KEY_PEPPER": PEPPER,
            "WEIGHBRIDGE_SPOOL_DIR": str(folder / "spool"),
            "WEIGHBRIDGE_PUBLISH_WINDOW_BYTES": str(4_000_000),
            "WEIGHBRIDGE_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "cli", "proxy", "--upstream", f"http://{HOST}:{target}"]
        command += ["--listen", f"{HOST}:{port}", "--admin", f"{HOST}:{admin}", "--instance", "benchmark"]
        process = stack.enter_context(started(command, folder / "proxy.log", lambda: listens(port), **settings))
        yield Contestant("weighbridge", port, psutil.Process(process.pid), key)


def project_key(port: int) -> str:
    """Put a tenant and a key into Redis as the billing service would; returns the key."""
    name = f"key_{'0' * 26}"
    secret = keys.create(name)
    digest = keys.digest(secret.encode(), PEPPER.encode())
    records: dict[str, KeyRecord | SubjectRecord] = {
        redis_keys.key_record(digest): KeyRecord(id=name, tenant=TENANT, revision=2),
        redis_keys.subject_record("tenant", TENANT): SubjectRecord(id=TENANT, revision=1),
    }
    with redis.Redis(host=HOST, port=port) as client:
        for place, record in records.items():
            client.hset(place, mapping={"revision": record.revision, "record": projection.encode(record)})
        client.set(redis_keys.MARKER, projection.encode(Marker(revision=2, rebuilt_at=utc_now())))
    return secret
