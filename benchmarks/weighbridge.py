"""This proxy as a contestant: everything on, as in production."""

import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
import redis

from benchmarks.processes import HOST, ROOT, Contestant, free_port, listens, started
from contracts import keys, projection, redis_keys
from contracts.clock import utc_now
from contracts.limits import PlanRecord
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


@dataclass(frozen=True)
class Customer:
    """A tenant on a plan of its own, and its key."""

    tenant: str = TENANT
    weight: int = 100
    key: str = field(default_factory=lambda: keys.create(f"key_{secrets.token_hex(13)}"))


@contextmanager
def weighbridge(
    folder: Path, target: int, workers: int = 1, customers: Iterable[Customer] = (), **settings: str
) -> Iterator[Contestant]:
    """The proxy with keys in Redis, spool, events to Kafka and their acknowledgement; `settings`: further ones.

    `customers`: whose requests are let in, beside the contestant's own.
    """
    port, admin, store, broker = (free_port() for _ in range(4))
    with ExitStack() as stack:
        serve = [sys.executable, "-m", "embedded.redis", "--port", str(store), "--data-dir", str(folder / "redis")]
        stack.enter_context(started(serve, folder / "redis.log", lambda: listens(store)))
        serve = [sys.executable, "-m", "embedded.kafka", "--port", str(broker)]
        stack.enter_context(started(serve, folder / "kafka.log", lambda: listens(broker)))
        serve = [sys.executable, "-m", "benchmarks.ledger", f"{HOST}:{broker}"]
        stack.enter_context(started(serve, folder / "ledger.log", lambda: True))
        own = Customer()
        project(store, [own, *customers])
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
        yield Contestant("weighbridge", port, psutil.Process(process.pid), own.key)


def project(port: int, customers: Iterable[Customer]) -> None:
    """Put tenants, plans and keys into Redis as the billing service would."""
    records: dict[str, KeyRecord | SubjectRecord | PlanRecord] = {}
    for customer in customers:
        tenant, plan = customer.tenant, f"plan_{customer.tenant}"
        digest = keys.digest(customer.key.encode(), PEPPER.encode())
        records[redis_keys.key_record(digest)] = KeyRecord(id=f"key_of_{tenant}", tenant=tenant, revision=1)
        records[redis_keys.subject_record("tenant", tenant)] = SubjectRecord(id=tenant, plan=plan, revision=1)
        records[redis_keys.plan_record(plan)] = PlanRecord(id=plan, weight=customer.weight, revision=1)
    with redis.Redis(host=HOST, port=port) as client:
        for place, record in records.items():
            client.hset(place, mapping={"revision": record.revision, "record": projection.encode(record)})
        client.set(redis_keys.MARKER, projection.encode(Marker(revision=1, rebuilt_at=utc_now())))
