"""The simulator as a process."""

import os
import signal
import socket
import subprocess
import sys

import msgspec
import pytest

from contracts.settings import SettingsError, load
from sim.service import running
from sim.settings import SimSettings

START = """
from contracts.settings import load
from sim.service import run
from sim.settings import SimSettings

run(load(SimSettings))
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_stops_when_told(how):
    environment = {**os.environ, "WEIGHBRIDGE_SIM_LISTEN": "127.0.0.1:0"}
    process = subprocess.Popen([sys.executable, "-c", START], env=environment, stderr=subprocess.PIPE)
    assert process.stderr
    try:
        line = msgspec.json.decode(process.stderr.readline())
        port = int(line["url"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)):
            process.send_signal(how)
            assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


async def test_a_taken_port_is_named_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port} is taken; choose another with --listen"):
            async with running(load(SimSettings, sim_listen=f"127.0.0.1:{port}")):
                pass


@pytest.mark.parametrize("flags", [{"sim_error_rate": 2}, {"sim_capacity": 0}, {"sim_listen": "nowhere"}])
def test_a_wrong_setting_is_named(flags):
    with pytest.raises(SettingsError, match=f"WEIGHBRIDGE_{next(iter(flags)).upper()}"):
        load(SimSettings, **flags)
