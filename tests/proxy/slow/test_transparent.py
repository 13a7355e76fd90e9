"""Transparent mode in network namespaces: a client, a machine in between with the proxy, and one with two vLLM servers.

Nothing is set at the client or at the servers: the client speaks to vLLM's own address.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.lane import origin
from proxy.lane.pool import IDLE_SECONDS
from tests.proxy.fakes import KEY

ROOT = Path(__file__).parents[3]
CLIENT, MIDDLE, SERVER = "wb-client", "wb-middle", "wb-server"
SETUP = f"""
ip netns add {CLIENT}
ip netns add {MIDDLE}
ip netns add {SERVER}
ip link add wb0 netns {CLIENT} type veth peer name wb1 netns {MIDDLE}
ip link add wb2 netns {MIDDLE} type veth peer name wb3 netns {SERVER}
ip -n {CLIENT} addr add 10.77.1.2/24 dev wb0
ip -n {MIDDLE} addr add 10.77.1.1/24 dev wb1
ip -n {MIDDLE} addr add 10.77.2.1/24 dev wb2
ip -n {SERVER} addr add 10.77.2.2/24 dev wb3
ip -n {SERVER} addr add 10.77.2.3/24 dev wb3
ip -n {SERVER} addr add 10.77.2.4/24 dev wb3
ip -n {CLIENT} link set wb0 up
ip -n {MIDDLE} link set wb1 up
ip -n {MIDDLE} link set wb2 up
ip -n {MIDDLE} link set lo up
ip -n {SERVER} link set wb3 up
ip -n {CLIENT} route add default via 10.77.1.1
ip -n {SERVER} route add default via 10.77.2.1
ip netns exec {MIDDLE} sysctl -qw net.ipv4.ip_forward=1
ip netns exec {MIDDLE} iptables -t nat -A PREROUTING -i wb1 -p tcp --dport 8000 -j REDIRECT --to-ports 8080
"""
CHAT = "/v1/chat/completions"


def remove() -> None:
    for name in (CLIENT, MIDDLE, SERVER):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def start(namespace: str, *words: str) -> "subprocess.Popen[str]":
    """Start this test's helper in a namespace, and wait until it serves."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, sys.executable, "-m", "tests.proxy.slow.in_namespace", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def namespaces() -> Iterator[None]:
    absent = [tool for tool in ("ip", "iptables", "sysctl", "curl") if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"TRANSPARENT MODE IS NOT TESTED: not installed: {', '.join(absent)}")
    if os.geteuid() != 0:
        pytest.skip("TRANSPARENT MODE IS NOT TESTED: only root makes network namespaces")
    remove()
    try:
        for line in SETUP.strip().splitlines():
            done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(
                    f"TRANSPARENT MODE IS NOT TESTED: this machine does not allow `{line}`: {done.stderr.strip()}"
                )
        yield
    finally:
        remove()


def curl(address: str, *words: str, namespace: str = CLIENT, key: bytes = KEY) -> "subprocess.CompletedProcess[str]":
    command = ["ip", "netns", "exec", namespace, "curl", "-sS", "-m", "10", *words, f"http://{address}"]
    return subprocess.run(
        [*command, "-H", f"Authorization: Bearer {key.decode()}"], capture_output=True, text=True, check=False
    )


@pytest.mark.usefixtures("namespaces")
def test_a_client_that_knows_nothing_of_the_proxy() -> None:
    running = [start(SERVER, "vllm", f"10.77.2.{number}", "8000", f"server-{number}") for number in (2, 3, 4)]
    try:
        proxy = start(MIDDLE, "proxy", "http://10.77.2.2:8000,http://10.77.2.3:8000", "8080")
        running.append(proxy)
        assert proxy.stdout is not None
        body = ("-d", '{"model":"tiny","messages":[]}')
        for number in (2, 3):
            for options in ((), ("--http2-prior-knowledge",)):
                done = curl(f"10.77.2.{number}:8000{CHAT}", *options, *body)
                assert f'"id":"server-{number}"' in done.stdout, done.stderr
                assert proxy.stdout.readline() == f"10.77.2.{number}:8000 2 10.77.1.2\n"
        denied = curl(f"10.77.2.2:8000{CHAT}", *body, "-w", "%{http_code}", key=b"wrong")
        assert denied.stdout.endswith("401")
        # A server that is not listed, and the proxy's own port: neither is served.
        assert curl(f"10.77.2.4:8000{CHAT}", *body).returncode != 0
        assert curl(f"10.77.1.1:8080{CHAT}", *body).returncode != 0
        # What the machine in between asks itself is not redirected, and what loops is cut.
        assert curl("10.77.2.2:8000/health", namespace=MIDDLE).returncode == 0
        own = "iptables -t nat -A OUTPUT -p tcp -d 10.77.2.2 --dport 8000 -j REDIRECT --to-ports 8080"
        subprocess.run(["ip", "netns", "exec", MIDDLE, *own.split()], check=True)
        time.sleep(IDLE_SECONDS + 1)  # until no connection from before is left
        looping = curl("10.77.2.2:8000/health", "-w", "%{http_code}")
        assert looping.stdout.endswith("502"), looping
        assert proxy.poll() is None
        proxy.terminate()
        said = proxy.stdout.read()
        assert said.count("it is our own") == 1
        assert said.count("not an upstream") == 1
        assert said.count("it was not redirected") == 1
    finally:
        for process in running:
            process.terminate()
            process.wait(120)
            if process.stdout is not None:
                process.stdout.close()


def test_a_connection_that_was_not_redirected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        accepted, _ = server.accept()
        with accepted:
            assert origin.original(accepted) is None


@pytest.mark.parametrize(
    ("written", "plain"), [("::ffff:10.0.0.1", "10.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("0:0::1", "::1")]
)
def test_addresses_are_written_one_way(written: str, plain: str) -> None:
    assert origin.plain(written) == plain
