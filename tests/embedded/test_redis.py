"""The embedded Redis keeps what it was told, and never forgets by itself."""

import socket
import subprocess
import sys

import psutil
import redis

from embedded.redis import arguments
from tests.embedded.conftest import serving


def test_it_survives_kill_9_and_is_no_cache(tmp_path):
    with serving("redis", tmp_path, "--data-dir", str(tmp_path / "data")) as server:
        with redis.Redis.from_url(f"redis://{server.address}/0", decode_responses=True) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            client.set("kept", "yes")
            client.xadd("stream", {"a": "1"})
        server.kill()
        server.start()
        with redis.Redis.from_url(f"redis://{server.address}/0", decode_responses=True) as client:
            assert client.get("kept") == "yes"
            assert client.xlen("stream") == 1


def test_it_listens_on_the_loopback_address_alone(tmp_path):
    with serving("redis", tmp_path, "--data-dir", str(tmp_path / "data")) as server:
        ours = [
            found.laddr.ip
            for found in psutil.Process(server.process.pid).net_connections("tcp")
            if found.status == psutil.CONN_LISTEN
        ]
        assert ours == ["127.0.0.1"]


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "embedded.redis", "--port", port, "--data-dir", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert second.returncode == 2
    assert port in second.stderr


def test_what_is_written_is_on_disk_within_a_second(tmp_path):
    flags = arguments(6379, tmp_path)
    assert dict(zip(flags[::2], flags[1::2], strict=True))["--appendfsync"] == "everysec"
