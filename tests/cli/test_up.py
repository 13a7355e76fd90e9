"""`weighbridge up` for real: from an empty folder to an answered request, through a killed part and a second start."""

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from embedded import ports
from tests.servers import ROOT, free_port, wait_until

pytestmark = pytest.mark.timeout(300)


class Up:
    """`up` in front of the simulator, on a data folder."""

    def __init__(self, folder: Path, *flags: str):
        self.data, self.log = folder / "data", folder / "up.log"
        self.flags = ["--data-dir", str(self.data), *flags]
        self.start()

    def start(self) -> None:
        """Start it and wait until it has said all it has to say."""
        self.log.write_text("")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WEIGHBRIDGE_")}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", "up", *self.flags],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=output,
            )
        wait_until(lambda: "\nThen: " in self.said() or self.process.poll() is not None, 120, "`up`")
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        """Return what it printed."""
        return self.log.read_text()

    @property
    def endpoints(self) -> dict[str, Any]:
        """Read endpoints.json."""
        return msgspec.json.decode((self.data / "endpoints.json").read_bytes(), type=dict[str, Any])

    def pids(self) -> list[int]:
        """Return all live process ids."""
        return [pid for ids in self.endpoints["pids"].values() for pid in (ids if isinstance(ids, list) else [ids])]

    def curl(self) -> bytes:
        """Run the printed line and return the answer."""
        (line,) = [line for line in self.said().splitlines() if line.startswith("curl ")]
        return subprocess.run([*shlex.split(line), "-s"], capture_output=True, timeout=120, check=True).stdout

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command on the same folder."""
        command = [sys.executable, "-m", "cli", *words, "--data-dir", str(self.data)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    def requests(self) -> int:
        """Return how many requests the ledger holds."""
        return sum(row["requests"] for row in msgspec.json.decode(self.run("usage", "--json").stdout))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(120)


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """One `up` for the tests that do not end it."""
    first, second = free_port(), free_port()
    running = Up(tmp_path_factory.mktemp("up"), "--proxy-port", str(first), "--api-port", str(second))
    yield running
    running.stop()


def test_the_printed_curl_line_works_and_its_usage_is_billed(up):
    answer = msgspec.json.decode(up.curl())
    assert answer["choices"]
    wait_until(lambda: up.requests() >= 1, 120, "the ledger")
    (row,) = msgspec.json.decode(up.run("usage", "--json").stdout)
    assert row["input_tokens"] > 0
    assert float(row["billed_cost"]) > 0
    assert row["currency"] == "EUR"


def test_endpoints_are_private_and_live(up):
    file = up.data / "endpoints.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(up.endpoints) == {
        *("proxy", "proxies", "api", "console", "upstreams", "kafka", "redis", "clickhouse", "database"),
        *("api_token", "demo_key", "pids"),
    }
    assert set(up.endpoints["pids"]) == {"redis", "kafka", "clickhouse", "sim", "api", "stream", "proxy"}
    assert all(psutil.pid_exists(pid) for pid in up.pids())
    assert up.run("doctor").returncode == 0


@pytest.mark.parametrize("part", ["kafka", "api", "proxy"])  # tests/faults kills every part, under load
def test_a_killed_part_returns_and_requests_go_on(up, part):
    before = up.endpoints
    old = before["pids"][part]
    counted = up.requests()
    killed = old if isinstance(old, int) else old[0]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: up.endpoints["pids"].get(part) and killed not in up.pids(), 120, f"{part} to return")
    after = up.endpoints
    assert {name: value for name, value in after.items() if name != "pids"} == {
        name: value for name, value in before.items() if name != "pids"
    }
    changed = {name for name in after["pids"] if after["pids"][name] != before["pids"][name]}
    assert changed == {part, "stream"} if part == "kafka" else {part}
    assert msgspec.json.decode(up.curl())["choices"]
    wait_until(lambda: up.requests() == counted + 1, 120, "the ledger")


def test_a_second_up_on_the_same_folder_or_port_is_refused(up):
    second = up.run("up", "--proxy-port", str(free_port()), "--api-port", str(free_port()))
    assert second.returncode == 2
    assert str(up.process.pid) in second.stderr
    taken = up.endpoints["proxy"].rpartition(":")[2]
    other = subprocess.run(
        [sys.executable, "-m", "cli", "up", "--data-dir", str(up.data.parent / "other"), "--proxy-port", taken],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert other.returncode == 2
    assert f"port {taken} is taken" in other.stderr
    assert "--proxy-port" in other.stderr


def test_the_demo_shows_three_tenants(up):
    ran = up.run("demo", "--seconds", "6", "--json")
    assert ran.returncode == 0, ran.stderr
    rows = msgspec.json.decode(ran.stdout)
    assert {row["name"] for row in rows} == {"Search", "Support", "Research"}
    assert all(row["requests"] and row["billed_cost"] for row in rows)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_all_its_parts_and_a_second_start_goes_on(tmp_path, how):
    flags = ["--proxy-port", str(free_port()), "--api-port", str(free_port())]
    up = Up(tmp_path, *flags)
    try:
        up.curl()
        wait_until(lambda: up.requests() == 1, 120, "the ledger")
        first, pids = up.endpoints, up.pids()
        assert up.stop(how) == (-how if how == signal.SIGKILL else 0)
        wait_until(lambda: not any(_runs(pid) for pid in pids), 120, "all parts to end")
        assert (up.data / "endpoints.json").exists() == (how == signal.SIGKILL)
        up.start()
        second = up.endpoints
        for name in ("proxy", "api", "kafka", "redis", "clickhouse", "database", "api_token", "demo_key"):
            assert second[name] == first[name]
        assert up.requests() == 1
        up.curl()
        wait_until(lambda: up.requests() == 2, 120, "the ledger")
    finally:
        up.stop()


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_two_upstreams_have_a_proxy_each(tmp_path, weighbridge):
    first = _two_free_ports()
    upstreams = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    up = Up(
        tmp_path,
        *(word for url in upstreams for word in ("--upstream", url)),
        *("--proxy-port", str(first), "--api-port", str(free_port()), "--workers", "2"),
    )
    try:
        assert up.endpoints["upstreams"] == upstreams
        assert up.endpoints["proxies"] == [f"http://127.0.0.1:{first}", f"http://127.0.0.1:{first + 1}"]
        assert "sim" not in up.endpoints["pids"]
        assert len(up.endpoints["pids"]["proxy"]) == 2 * (1 + 2), "each proxy's own process and its workers"
        assert "does not answer yet" in up.said()
        for proxy in up.endpoints["proxies"]:
            headers = {"authorization": f"Bearer {up.endpoints['demo_key']}"}
            body = {"model": "any", "messages": [{"role": "user", "content": "?"}]}
            answer = httpx.post(f"{proxy}/v1/chat/completions", headers=headers, json=body, timeout=120)
            assert answer.status_code == 502
    finally:
        up.stop()


def _two_free_ports() -> int:
    while True:
        port = free_port()
        if port < 65535 and ports.is_free(port + 1):
            return port


def test_it_stops_again_when_only_asked_to_start(tmp_path):
    started = time.monotonic()
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "cli", "up", "--exit-after-ready", "--data-dir", str(tmp_path / "data")),
            *("--proxy-port", str(free_port()), "--api-port", str(free_port())),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "curl " in ran.stdout
    assert time.monotonic() - started < 120


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--upstream", "127.0.0.1:8000"], "http://HOST:PORT"),
        (["--upstream", "http://a:1", "--upstream", "http://a:1/"], "each server once"),
        (["--proxy-port", "0"], "--proxy-port"),
        (["--proxy-port", "8090", "--api-port", "8090"], "--api-port"),
        (["--proxy-port", "65535", "--upstream", "http://a:1", "--upstream", "http://b:1"], "65535"),
        (["--workers", "0"], "--workers"),
        (["--data-dir", "/dev/null/data"], "--data-dir"),
    ],
)
def test_bad_input_is_refused(weighbridge, words, says):
    ran = weighbridge("up", *words)
    assert ran.status == 2
    assert says in ran.err


def test_a_wrong_setting_stops_the_start_with_its_name(weighbridge, monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_REDIS_URL", "nowhere")
    ran = weighbridge("up", "--proxy-port", str(free_port()), "--api-port", str(free_port()))
    assert ran.status == 2
    assert "WEIGHBRIDGE_REDIS_URL" in ran.err


@pytest.mark.parametrize("name", ["KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "CLICKHOUSE_URL", "DATABASE_URL"])
def test_a_server_of_ones_own_that_is_away_stops_the_start(weighbridge, monkeypatch, name):
    """No part would end without Redis or Kafka: `up` would say that all is well."""
    scheme = {"KAFKA_BOOTSTRAP_SERVERS": "", "REDIS_URL": "redis://u:secret@", "CLICKHOUSE_URL": "http://"}
    address = f"{scheme.get(name, 'postgresql://u:secret@')}127.0.0.1:{free_port()}"
    monkeypatch.setenv(f"WEIGHBRIDGE_{name}", address)
    monkeypatch.setattr("cli.reach.GIVE_UP_SECONDS", 0.0)
    ran = weighbridge("up", "--proxy-port", str(free_port()), "--api-port", str(free_port()))
    assert ran.status == 1
    assert f"WEIGHBRIDGE_{name}" in ran.err
    assert "secret" not in ran.err


def test_workers_are_a_setting(weighbridge, monkeypatch):
    chosen = []

    class Nothing:
        """A system that ends as soon as it starts."""

        def __init__(self, _folder, choices, _key):
            chosen.append(choices.workers)

        def run(self, *, once):
            """Do nothing."""

    monkeypatch.setattr("cli.up._System", Nothing)
    monkeypatch.setenv("WEIGHBRIDGE_WORKERS", "3")
    ports = ("--proxy-port", str(free_port()), "--api-port", str(free_port()))
    assert weighbridge("up", *ports).status == 0
    assert weighbridge("up", *ports, "--workers", "2").status == 0
    assert chosen == [3, 2]
    monkeypatch.setenv("WEIGHBRIDGE_WORKERS", "many")
    assert "WEIGHBRIDGE_WORKERS" in weighbridge("up", *ports).err
