"""The whole proxy: its processes, from start to end, with real Kafka and Redis protocols around it."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import msgspec
import psutil
import pytest
from aiokafka import AIOKafkaConsumer

from contracts import keys, topics
from tests.proxy import parts
from tests.proxy.directories import Api
from tests.proxy.parts import Ledger
from tests.servers import Server, free_port, listens, wait_until

PEPPER = "a pepper of sixteen bytes"
TOKEN = keys.create("key_01jabcdefghjkmnpqrstvwxyz0")
AUTHORIZATION = {"authorization": f"Bearer {TOKEN}"}
PROMISED = {
    "weighbridge_requests_total",
    "weighbridge_spool_bytes",
    "weighbridge_ledger_lag_seconds",
    "weighbridge_redis_up",
    "weighbridge_upstream_up",
    "weighbridge_published_events_total",
}
RUN = """
import sys
from contracts.settings import SettingsError, load
from {package}.settings import {settings} as Settings
from {package}.service import run
try:
    run(load(Settings, **dict(word.split("=", 1) for word in sys.argv[1:])))
except SettingsError as error:
    sys.exit(str(error))
"""


class House:
    """Everything around a proxy, and how to start one."""

    def __init__(self, folder, kafka, redis):
        self.folder, self.kafka, self.redis = folder, kafka, redis
        self.sim: Server
        self.sim_port, self.port, self.admin_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin = f"http://127.0.0.1:{self.admin_port}"

    def command(self, **flags):
        settings = {
            "upstream": f"http://127.0.0.1:{self.sim_port}",
            "listen": f"127.0.0.1:{self.port}",
            "admin": f"127.0.0.1:{self.admin_port}",
            "instance": "gpu-0",
            "key_pepper": PEPPER,
            "kafka_bootstrap_servers": self.kafka.address,
            "redis_url": self.redis.address,
            "spool_dir": str(self.folder / "spool"),
            "grace_seconds": "8",
        }
        words = [f"{name}={value}" for name, value in (settings | flags).items()]
        return [sys.executable, "-c", RUN.format(package="proxy", settings="ProxySettings"), *words]

    def ready(self):
        try:
            return httpx.get(f"{self.admin}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    @contextmanager
    def proxy(self, **flags):
        server = Server(self.command(**flags), self.url, self.folder / "proxy.log", self.ready)
        try:
            yield server
        finally:
            server.stop()

    def workers(self):
        return httpx.get(f"{self.admin}/healthz").json()["workers"]

    def metrics(self):
        """Return the sum of each metric over its labels."""
        sums: dict[str, float] = {}
        for line in httpx.get(f"{self.admin}/metrics").text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.replace("{", " {").rpartition(" ")
                sums[name.split()[0]] = sums.get(name.split()[0], 0) + float(value)
        return sums

    def spools(self):
        return [path for path in (self.folder / "spool").iterdir() if path.is_dir()]


@pytest.fixture
def house(tmp_path):
    with parts.kafka(tmp_path) as kafka, parts.redis(tmp_path) as redis:
        api = Api(redis.address)
        api.subject("tenant", "ten_a")
        api.key(TOKEN.encode(), pepper=PEPPER.encode())
        api.whole()
        api.redis.close()
        made = House(tmp_path, kafka, redis)
        code = RUN.format(package="sim", settings="SimSettings")
        command = [sys.executable, "-c", code, f"sim_listen=127.0.0.1:{made.sim_port}", "sim_tokens_per_second=20"]
        made.sim = Server(command, "", tmp_path / "sim.log", lambda: listens(made.sim_port))
        try:
            yield made
        finally:
            made.sim.stop()


def ask(house, tokens=3, **fields):
    body = {"model": "tiny", "prompt": "Say something.", "max_tokens": tokens} | fields
    return httpx.post(f"{house.url}/v1/completions", json=body, headers=AUTHORIZATION, timeout=120)


def usage(ledger):
    kind = topics.event_type(topics.USAGE)
    found = [msgspec.json.decode(raw) for raw in ledger.events.values()]
    return [msgspec.convert(each, kind).data for each in found if each["type"] == topics.USAGE]


def limits_up(house):
    """Return what `/readyz` says once a Redis that has just begun need not be waited for any more."""
    wait_until(lambda: httpx.get(f"{house.admin}/readyz").json()["limits"] == "up", 60, "limits")
    return httpx.get(f"{house.admin}/readyz").json()


async def test_a_request_ends_in_the_ledger_and_sigterm_leaves_nothing_behind(house):
    with house.proxy() as proxy:
        async with Ledger(house.kafka.address) as ledger:
            answer = await asyncio.to_thread(ask, house)
            assert answer.status_code == 200
            await ledger.until(lambda: len(ledger.events) == 2)
            [found] = usage(ledger)
            reported = answer.json()["usage"]
            assert (found.input_tokens, found.output_tokens) == (
                reported["prompt_tokens"],
                reported["completion_tokens"],
            )
            assert (found.tenant, found.key, found.outcome, found.accuracy) == ("ten_a", "key_1", "completed", "exact")
            assert (found.producer, found.request_id) == ("weighbridge/gpu-0", answer.headers["x-request-id"])
            await asyncio.to_thread(wait_until, lambda: house.metrics().keys() >= PROMISED, 10, "all metrics")
            ready = await asyncio.to_thread(limits_up, house)
            assert ready == {
                "ready": True,
                "not_ready": [],
                "workers": "1 of 1",
                "upstream": "up",
                "limits": "up",
                "redis": "up",
                "kafka": "up",
                "spool": "ok",
                "draining": "no",
            }
            await asyncio.to_thread(ask, house)
            proxy.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(proxy.process.wait, 30) == 0
            await ledger.until(lambda: len(usage(ledger)) == 2)
    assert house.spools() == []
    assert TOKEN not in (house.folder / "proxy.log").read_text()


async def test_no_byte_of_a_prompt_is_anywhere_unless_the_tenants_policy_says_so(house):
    def ask_for(secret):
        answer = ask(house, tokens=4, prompt=f"the secret {secret}", stream=True)
        assert answer.status_code == 200
        return answer.headers["x-request-id"]

    with house.proxy(log_level="debug"):
        async with Ledger(house.kafka.address) as ledger:
            ledger.acknowledges = False  # so that all stays in the spool
            await asyncio.to_thread(ask_for, "walnut")
            await ledger.until(lambda: len(ledger.events) == 2)
            api = Api(house.redis.address)
            api.revision = 10
            api.subject("tenant", "ten_a", record_prompts=True)
            api.redis.close()
            later = [await asyncio.to_thread(ask_for, "hazelnut")]
            while await asyncio.to_thread(lambda: house.metrics().get("weighbridge_prompt_copies_total", 0)) < 1:
                later.append(await asyncio.to_thread(ask_for, "hazelnut"))  # the change was not heard of yet
            kept = [path for path in (house.folder / "spool").rglob("*") if path.is_file()]
            assert any(b"weighbridge.usage.v1" in path.read_bytes() for path in kept)
            for text in [*(path.read_bytes() for path in [*kept, house.folder / "proxy.log"]), *ledger.events.values()]:
                assert b"nut" not in text
            consumer = AIOKafkaConsumer(
                topics.PROMPT, bootstrap_servers=house.kafka.address, auto_offset_reset="earliest"
            )
            await consumer.start()
            record = await asyncio.wait_for(consumer.getone(), 60)
            await consumer.stop()
            copy = msgspec.json.decode(record.value, type=topics.event_type(topics.PROMPT)).data
            assert copy.request_id in later
            assert "the secret hazelnut" in copy.request
            assert copy.response.endswith("data: [DONE]\n\n")


async def test_a_killed_worker_is_replaced_and_its_requests_are_accounted_for(house):
    with house.proxy(workers="2"):
        async with Ledger(house.kafka.address) as ledger:
            before = house.workers()
            assert len(before) == 2
            async with httpx.AsyncClient(timeout=120) as client:
                body = {"model": "tiny", "prompt": "x", "max_tokens": 400, "stream": True}
                streams = []
                for _ in range(8):
                    request = client.build_request(
                        "POST", f"{house.url}/v1/completions", json=body, headers=AUTHORIZATION
                    )
                    streams.append(await client.send(request, stream=True))
                for pid in before:
                    os.kill(pid, signal.SIGKILL)
                await ledger.until(lambda: len(usage(ledger)) == 8, 60)
                for stream in streams:
                    await stream.aclose()
            lost = usage(ledger)
            assert {each.outcome for each in lost} == {"proxy_lost"}
            assert {each.request_id for each in lost} == {stream.headers["x-request-id"] for stream in streams}
            assert {each.accuracy for each in lost} <= {"estimated", "unknown"}
            await asyncio.to_thread(wait_until, house.ready, 30, "new workers")
            assert not set(before) & set(house.workers())
            assert (await asyncio.to_thread(ask, house)).status_code == 200
            await ledger.until(lambda: len(usage(ledger)) == 9)


def test_a_killed_parent_takes_its_workers_along_and_can_be_started_again(house):
    with house.proxy() as proxy:
        [worker] = house.workers()
        proxy.kill()
        proxy.start()
        assert ask(house).status_code == 200
        wait_until(lambda: not psutil.pid_exists(worker), 120, "the orphan to end")


def test_two_workers_share_the_port(house):
    with house.proxy(workers="2"):
        pids = house.workers()
        for _ in range(20):
            assert ask(house, tokens=1).status_code == 200
        assert all(psutil.Process(pid).memory_info().rss < 150 << 20 for pid in pids)
        wait_until(lambda: house.metrics().get("weighbridge_requests_total") == 20, 120, "both workers' counts")


def test_two_workers_have_one_queue_and_what_killed_ones_held_comes_back(house):
    with house.proxy(workers="2", capacity="1", queue_timeout="60") as server, ThreadPoolExecutor(7) as clients:
        before = house.workers()
        lost = [clients.submit(ask, house, tokens=400) for _ in range(4)]
        running = lambda name: house.metrics().get(f"weighbridge_{name}_requests")  # noqa: E731
        wait_until(lambda: (running("inflight"), running("queued")) == (1, 3), 60, "one to run and three to wait")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert all(isinstance(each.exception(), httpx.TransportError) for each in lost)
        wait_until(lambda: house.ready() and not set(before) & set(house.workers()), 60, "new workers")
        answers = [clients.submit(ask, house, tokens=5) for _ in range(7)]
        assert {each.result().status_code for each in answers} == {200}
        assert server.process.poll() is None


def test_as_many_files_are_opened_as_the_system_allows(house):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))  # as a shell gives it to what it starts
    try:
        with house.proxy() as server:
            (worker,) = psutil.Process(server.process.pid).children()
            assert worker.rlimit(psutil.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_vllm_that_cannot_be_reached_is_seen_and_so_is_its_return(house):
    with house.proxy():
        house.sim.kill()

        def shut_off():
            answer = ask(house)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
            return house.metrics().get("weighbridge_upstream_short_circuit") == 1

        wait_until(shut_off, 120, "the short circuit to show")
        assert house.metrics()["weighbridge_upstream_connect_failures_total"] >= 5
        wait_until(lambda: not house.ready(), 120, "the proxy to say that it is not ready")
        assert httpx.get(f"{house.admin}/readyz").json()["upstream"] == "down"
        house.sim.start()
        wait_until(lambda: ask(house).status_code == 200, 120, "an answer")
        wait_until(house.ready, 120, "the proxy to be ready")
        wait_until(
            lambda: house.metrics()["weighbridge_upstream_short_circuit"] == 0, 120, "the end of the short circuit"
        )


def test_drain_ends_the_workers_and_leaves_the_admin_server(house):
    with house.proxy() as proxy:
        assert httpx.post(f"{house.admin}/drain").status_code == 202
        wait_until(lambda: not house.workers(), 120, "the workers to end")
        answer = httpx.get(f"{house.admin}/readyz")
        assert (answer.status_code, "draining" in answer.json()["not_ready"]) == (503, True)
        assert httpx.get(f"{house.admin}/healthz").status_code == 200
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(120) == 0


def test_what_kafka_did_not_get_waits_for_the_next_start(house):
    with house.proxy() as proxy:
        house.kafka.kill()
        assert ask(house).status_code == 200
        began = time.monotonic()
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(120) == 0
        assert time.monotonic() - began < 20
    assert len(house.spools()) == 1
    house.kafka.start()

    async def next_start():
        async with Ledger(house.kafka.address) as ledger:
            with house.proxy():
                await ledger.until(lambda: len(usage(ledger)) == 1)

    asyncio.run(next_start())


@pytest.mark.parametrize("flag", ["listen", "admin"])
def test_a_port_that_is_taken_is_named_with_its_flag(house, flag):
    taken = f"127.0.0.1:{house.sim_port}"
    result = subprocess.run(house.command(**{flag: taken}), capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert taken in last
    assert f"--{flag}" in last


def test_a_spool_folder_that_cannot_be_used_stops_the_start(house):
    (house.folder / "spool").write_text("a file")
    result = subprocess.run(house.command(), capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode != 0
    assert "spool" in result.stderr


def test_the_parent_loads_nothing_that_serves_requests_or_reads_settings():
    heavy = {"aiohttp", "aiokafka", "mitmproxy", "pydantic", "redis", "typer"}
    code = f"import sys, proxy.parent; print({heavy} & sys.modules.keys() or 'none')"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "none"
