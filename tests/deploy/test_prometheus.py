"""A real Prometheus with the deployed configuration over our running services: the dashboard's live figures have values."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from confluent_kafka import Producer
from ruamel.yaml import YAML

from contracts import topics
from contracts.clock import utc_now
from dashboards import live
from dashboards.live import PromQL
from tests.compose import SECRET
from tests.servers import ROOT, Server, free_port, listens, wait_until
from tests.stand import Stand, Started

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus (Debian package) is not installed"),
]
REQUESTS = 5
MODEL = "tiny"


def queries() -> list[PromQL]:
    found = [value for value in vars(live).values() if isinstance(value, PromQL | tuple)]
    return [query for value in found for query in (value if isinstance(value, tuple) else (value,))]


@pytest.fixture(scope="module")
def prometheus(migrated: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Prometheus, with a few seconds of traffic scraped."""
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        for service in ("api", "stream", "proxy"):
            stack.callback(Started(migrated, service).stop)
        port = free_port()
        command = [
            "prometheus", f"--config.file={configuration(migrated, folder)}", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        ]  # fmt: skip
        server = Server(command, f"http://127.0.0.1:{port}", folder / "log", lambda: listens(port))
        stack.callback(server.stop)
        client = stack.enter_context(httpx.Client(base_url=server.address, timeout=120))
        wait_until(lambda: targets_up(client) == 4, 120, "Prometheus to scrape all four parts")
        key = make_key(migrated)
        end = time.monotonic() + 6  # rates need two scrapes, a second apart, with traffic between them
        while time.monotonic() < end or not seen_growing(client):
            send(migrated, key)
            time.sleep(0.5)
        client.params = client.params.set(
            "time", utc_now().timestamp()
        )  # later ones may be asked when rates are zero again
        yield client


def configuration(stand: Stand, folder: Path) -> Path:
    """Write the deployed configuration for this machine, with a scrape each second."""
    yaml = YAML(typ="safe", pure=True)
    config: dict[str, Any] = yaml.load((ROOT / "deploy" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ROOT / "deploy" / "alerts.yml")]
    for job in config["scrape_configs"]:
        name, _, port = job["static_configs"][0]["targets"][0].partition(":")
        job["static_configs"] = [{"targets": [f"127.0.0.1:{stand.ports.get(port) or stand.ports[name]}"]}]
    file = folder / "prometheus.json"  # JSON is YAML
    file.write_bytes(msgspec.json.encode(config))
    return file


def seen_growing(client: httpx.Client) -> bool:
    """Whether Prometheus has seen several steps of the counters of both answered and denied requests."""
    counters = ('weighbridge_requests_total{status="200"}', "weighbridge_denied_total")
    steps = [ask(client, f"sum(changes({counter}[15s]))") for counter in counters]
    return all(found and float(found[0]["value"][1]) >= 2 for found in steps)


def targets_up(client: httpx.Client) -> int:
    return sum(sample["value"][1] == "1" for sample in ask(client, "up"))


def ask(client: httpx.Client, expression: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/query", params={"query": expression})
    result: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
    return result


def make_key(stand: Stand) -> str:
    headers = {"authorization": f"Bearer {SECRET}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{stand.ports['8090']}/v1", headers=headers) as api:
        tenant = (
            api.post("/tenants", json={"name": "Search", "time_zone": "UTC", "currency": "EUR"})
            .raise_for_status()
            .json()
        )
        key = api.post("/keys", json={"tenant": tenant["id"], "name": "ci"}).raise_for_status().json()
    return str(key["secret"])


def send(stand: Stand, key: str) -> None:
    """Send answered and denied requests, and a record that is no event."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "stream": True}
    with httpx.Client(base_url=f"http://127.0.0.1:{stand.ports['8080']}", timeout=120) as proxy:
        for token, status in ((key, 200), ("wb_wrong", 401)):
            answer = proxy.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == status, answer.text
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{stand.ports['kafka']}"})
    producer.produce(topics.USAGE, b"nonsense")
    assert producer.flush(120) == 0


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.name)
def test_every_live_figure_has_a_value(prometheus: httpx.Client, query: PromQL) -> None:
    expression = query.expression.replace("$__rate_interval", "15s").replace("$model", ".*")
    samples = ask(prometheus, expression)
    assert samples, expression
    assert any(float(sample["value"][1]) >= 0 for sample in samples), samples
    label = query.legend.partition("{{")[2].partition("}}")[0]
    assert not label or all(label in sample["metric"] for sample in samples)


def test_figures_are_of_the_traffic_that_was_sent(prometheus: httpx.Client) -> None:
    by_outcome = {
        sample["metric"]["status"]: float(sample["value"][1])
        for sample in ask(prometheus, "weighbridge_requests_total")
    }
    assert by_outcome.get("200", 0) > 0
    denied = ask(prometheus, 'weighbridge_denied_total{code="invalid_api_key"}')
    assert float(denied[0]["value"][1]) > 0


def test_alerts_are_loaded_and_none_cries_without_reason(prometheus: httpx.Client) -> None:
    rules = prometheus.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]
    assert all(rule["health"] in ("ok", "unknown") for rule in rules), rules
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert firing <= {"WeighbridgeDeadletters"}  # nonsense was sent
