"""This proxy as a contestant: everything on, as in production."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil
import redis

from benchmarks.processes import HOST, ROOT, Contestant, free_port, listens, started
from contracts import keys, projection, redis_keys
from contracts.clock import utc_now
from contracts.projection import KeyRecord, Marker, SubjectRecord

PROXY: Final = (sys.executable, "-m", "cli", "proxy")
"""The command that is measured: the only place that says how it is started."""
COMPILED: Final = ROOT / ".compiled"
"""Where `make compiled` put the package; what is not there is measured as source."""
PEPPER = "the pepper of a benchmark"
TENANT = "ten_01benchmark"


def is_compiled() -> bool:
    """Whether the compiled package is what is measured."""
    return (COMPILED / "proxy").exists()


@contextmanager
def weighbridge(folder: Path, target: int, workers: int = 1, **settings: str) -> Iterator[Contestant]:
    """The proxy with keys in Redis, spool, events to Kafka and their acknowledgement; `settings`: further ones."""
    port, admin, store, broker = (free_port() for _ in range(4))
    with ExitStack() as stack:
        serve = [sys.executable, "-m", "embedded.redis", "--port", str(store), "--data-dir", str(folder / "redis")]
        stack.enter_context(started(serve, folder / "redis.log", lambda: listens(store)))
        serve = [sys.executable, "-m", "embedded.kafka", "--port", str(broker)]
        stack.enter_context(started(serve, folder / "kafka.log", lambda: listens(broker)))
        serve = [sys.executable, "-m", "benchmarks.ledger", f"{HOST}:{broker}"]
        stack.enter_context(started(serve, folder / "ledger.log", lambda: True))
        key = project_key(store)
        environment = {
            "WEIGHBRIDGE_KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{broker}",
            "WEIGHBRIDGE_REDIS_URL": f"redis://{HOST}:{store}/0",
            "WEIGHBRIDGE_KEY_PEPPER": PEPPER,
            "WEIGHBRIDGE_SPOOL_DIR": str(folder / "spool"),
            "WEIGHBRIDGE_PUBLISH_WINDOW_BYTES": str(4_000_000),
            "WEIGHBRIDGE_LOG_LEVEL": "warning",
            **({"PYTHONSAFEPATH": "1", "PYTHONPATH": str(COMPILED)} if is_compiled() else {}),
            **settings,
        }
        command = [*PROXY, "--upstream", f"http://{HOST}:{target}", "--workers", str(workers)]
        command += ["--listen", f"{HOST}:{port}", "--admin", f"{HOST}:{admin}", "--instance", "benchmark"]
        process = stack.enter_context(started(command, folder / "proxy.log", lambda: listens(port), environment))
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
