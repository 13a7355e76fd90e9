"""What `up` runs: which parts, with which commands and settings, in which order. Pure.

A server that the settings name (a real Kafka, Redis, ClickHouse, database) is used; the others are embedded.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from embedded.parts import Part, Probe
from embedded.ports import LOOPBACK

PUBLISH_WINDOW_BYTES: Final = 4_000_000
"""Over all producers: the embedded broker forgets what is more than 5 MB behind in a partition."""
SERVICE: Final = (sys.executable, "-m", "cli")


@dataclass(frozen=True)
class Given:
    """Addresses of servers that exist already; None: embedded."""

    kafka: str | None = None
    redis: str | None = None
    clickhouse: str | None = None
    database: str | None = None


@dataclass(frozen=True)
class Choices:
    """What the user asked for, and what the data folder remembers. Ports by name; `upstreams` empty: the simulator."""

    data: Path
    upstreams: tuple[str, ...]
    proxy_ports: tuple[int, ...]
    api_port: int
    ports: Mapping[str, int]
    api_token: str = field(repr=False)
    key_pepper: str = field(repr=False)
    workers: int = 1
    given: Given = Given()

    @property
    def simulated(self) -> bool:
        """Whether the simulator stands in for vLLM."""
        return not self.upstreams

    @property
    def targets(self) -> tuple[str, ...]:
        """The servers that the proxies stand in front of."""
        return self.upstreams or (f"http://{LOOPBACK}:{self.ports['sim']}",)

    @property
    def kafka(self) -> str:
        """Kafka's bootstrap address."""
        return self.given.kafka or f"{LOOPBACK}:{self.ports['kafka']}"

    @property
    def redis(self) -> str:
        """Redis's URL."""
        return self.given.redis or f"redis://{LOOPBACK}:{self.ports['redis']}/0"

    @property
    def clickhouse(self) -> str:
        """ClickHouse's URL."""
        return self.given.clickhouse or f"http://{LOOPBACK}:{self.ports['clickhouse']}"

    @property
    def database(self) -> str:
        """The SQL database's URL."""
        return self.given.database or f"sqlite+aiosqlite:///{self.data / 'weighbridge.db'}"


def port_names(upstreams: int) -> list[str]:
    """Return the names of the ports that nobody has to know and that stay the same from one start to the next."""
    return ["kafka", "redis", "clickhouse", "sim", "stream", *(f"admin-{number}" for number in range(1, upstreams + 1))]


def servers(choices: Choices) -> list[Part]:
    """Return what must run before anything else: the embedded servers, and the simulator where no vLLM is named."""
    ports, data = choices.ports, choices.data
    parts = []
    if choices.given.redis is None:
        parts.append(_server("redis", ports["redis"], Probe.redis(ports["redis"]), data / "redis"))
    if choices.given.kafka is None:
        parts.append(_server("kafka", ports["kafka"], Probe(ports["kafka"])))
    if choices.given.clickhouse is None:
        probe = Probe.http(ports["clickhouse"], "/ping")
        parts.append(_server("clickhouse", ports["clickhouse"], probe, data / "clickhouse"))
    if choices.simulated:
        listen = ("--listen", f"{LOOPBACK}:{ports['sim']}")
        parts.append(Part("sim", "sim", (*SERVICE, "sim", *listen), Probe.http(ports["sim"], "/health")))
    return parts


def migration(choices: Choices) -> Part:
    """Return the command that brings the databases to the newest schema and ends."""
    return Part("migrate", "migrate", (*SERVICE, "migrate"), environment=environment(choices))


def services(choices: Choices) -> list[Part]:
    """Return what reads and writes the databases."""
    api, stream = choices.api_port, choices.ports["stream"]
    env = environment(choices)
    return [
        Part(
            "api",
            "api",
            (*SERVICE, "api", "--listen", f"{LOOPBACK}:{api}"),
            Probe.http(api, "/healthz"),
            environment=env,
        ),
        Part(
            "stream",
            "stream",
            (*SERVICE, "stream", "--admin", f"{LOOPBACK}:{stream}"),
            Probe.http(stream, "/healthz"),
            # An embedded broker that died comes back empty: positions in the old one mean nothing in the new.
            needs=("kafka",) if choices.given.kafka is None else (),
            environment=env,
        ),
    ]


def proxies(choices: Choices) -> list[Part]:
    """Return one proxy for each upstream."""
    env = environment(choices)
    parts = []
    for number, (upstream, port) in enumerate(zip(choices.targets, choices.proxy_ports, strict=True), 1):
        flags = {
            "--upstream": upstream,
            "--listen": f"{LOOPBACK}:{port}",
            "--admin": f"{LOOPBACK}:{choices.ports[f'admin-{number}']}",
            "--instance": urlsplit(upstream).netloc,
            "--workers": str(choices.workers),
        }
        command = (*SERVICE, "proxy", *(word for pair in flags.items() for word in pair))
        parts.append(Part(f"proxy-{number}", "proxy", command, Probe(port), environment=env))
    return parts


def environment(choices: Choices) -> dict[str, str]:
    """Return the settings that every service of ours gets, so that none depends on another's defaults."""
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": choices.kafka,
        "REDIS_URL": choices.redis,
        "CLICKHOUSE_URL": choices.clickhouse,
        "DATABASE_URL": choices.database,
        "API_TOKEN": choices.api_token,
        "KEY_PEPPER": choices.key_pepper,
        "SPOOL_DIR": str(choices.data / "spool"),
    }
    if choices.given.kafka is None:
        settings["STREAM_REREAD"] = "true"  # the broker's memory is short, and its offsets mean nothing after its death
        producers = len(choices.targets) * choices.workers
        settings["PUBLISH_WINDOW_BYTES"] = str(PUBLISH_WINDOW_BYTES // producers)
    return {f"WEIGHBRIDGE_{name}": value for name, value in settings.items()}


def endpoints(choices: Choices, demo_key: str, pids: Mapping[str, list[int]]) -> dict[str, Any]:
    """Return what endpoints.json says. Kinds of which there is one process have its id, the others a list."""
    addresses = [f"http://{LOOPBACK}:{port}" for port in choices.proxy_ports]
    api = f"http://{LOOPBACK}:{choices.api_port}"
    many = ("proxy", "stream")
    return {
        "proxy": addresses[0],
        "proxies": addresses,
        "api": api,
        "console": f"{api}/console",
        "upstreams": list(choices.targets),
        "kafka": choices.kafka,
        "redis": choices.redis,
        "clickhouse": choices.clickhouse,
        "database": choices.database,
        "api_token": choices.api_token,
        "demo_key": demo_key,
        "pids": {kind: ids if kind in many else ids[0] for kind, ids in pids.items()},
    }


def _server(name: str, port: int, probe: Probe, data: Path | None = None) -> Part:
    folder = () if data is None else ("--data-dir", str(data))
    command = (sys.executable, "-m", f"embedded.{name}", "--port", str(port), *folder)
    return Part(name, name, command, probe)
