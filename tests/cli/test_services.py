"""A service's flags are its settings, and a wrong one is named."""

import socket
import subprocess
import sys
from typing import Any

import pytest

from cli import services
from contracts.settings import SettingsError
from tests.servers import ROOT


def test_flags_are_the_services_settings_without_its_prefix(weighbridge):
    ran = weighbridge("api", "--help")
    for flag in ("--listen", "--database-url", "--redis-url", "--clickhouse-url", "--log-level"):
        assert flag in ran.out
    assert "--api-listen" not in ran.out


def test_help_says_what_is_when_nobody_says_anything(weighbridge, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = weighbridge("proxy", "--help").out
    for word in (
        "(default: 127.0.0.1:9464)",
        "(default: 30.0)",
        "(required)",
        "(default: spool)",
        "(default: the machine's)",
    ):
        assert word in said


def test_a_misspelt_variable_is_told_and_the_command_goes_on(weighbridge, monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_SPOOL_DIRR", "x")
    ran = weighbridge("proxy", "--help")
    assert (ran.status, "did you mean WEIGHBRIDGE_SPOOL_DIR?" in ran.err) == (0, True)


@pytest.mark.parametrize(
    ("service", "secret"), [("api", "token"), ("api", "key-pepper"), ("proxy", "upstream-api-key")]
)
def test_secrets_are_no_flags(weighbridge, service, secret):
    assert weighbridge(service, f"--{secret}", "0123456789abcdef").status == 2


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("proxy",), "WEIGHBRIDGE_UPSTREAM"),
        (("api",), "WEIGHBRIDGE_API_TOKEN"),
        (("stream", "--redis-url", "nowhere"), "WEIGHBRIDGE_REDIS_URL"),
        (("sim", "--capacity", "many"), "WEIGHBRIDGE_SIM_CAPACITY"),
        (("migrate", "--database-url", "mysql://x"), "WEIGHBRIDGE_DATABASE_URL"),
    ],
)
def test_a_missing_or_wrong_setting_stops_the_start_with_its_name(weighbridge, words, named):
    ran = weighbridge(*words)
    assert ran.status == 2
    assert named in ran.err


def test_a_taken_port_is_named_with_the_flag_that_changes_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = subprocess.run(
            [sys.executable, "-m", "cli", "sim", "--listen", address],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ran.returncode == 2
    assert address in ran.stderr
    assert "--listen" in ran.stderr


def test_flags_reach_the_service(weighbridge, monkeypatch):
    given: list[Any] = []
    monkeypatch.setattr("sim.service.run", given.append)
    monkeypatch.setenv("WEIGHBRIDGE_SIM_CAPACITY", "7")
    monkeypatch.setenv("WEIGHBRIDGE_SIM_SEED", "8")
    ran = weighbridge("sim", "--model", "a,b", "--capacity", "9", "--no-prompt-tokens-details")
    assert ran.status == 0
    (settings,) = given
    assert (settings.sim_models, settings.sim_capacity, settings.sim_seed) == ("a,b", 9, 8)
    assert settings.sim_prompt_tokens_details is False


def test_an_error_of_settings_in_a_running_service_is_one_line(weighbridge, monkeypatch):
    def run(_settings):
        raise SettingsError("WEIGHBRIDGE_SIM_LISTEN: taken")

    monkeypatch.setattr("sim.service.run", run)
    ran = weighbridge("sim")
    assert (ran.status, ran.err) == (2, "weighbridge: WEIGHBRIDGE_SIM_LISTEN: taken\n")


def test_a_service_whose_libraries_are_not_installed_says_which_to_install(weighbridge, monkeypatch):
    missing = services.Service("no_such_package", "Settings", "", "")
    monkeypatch.setitem(services.SERVICES, "sim", missing)
    ran = weighbridge("sim")
    assert ran.status == 1
    assert "install weighbridge[sim]" in ran.err
