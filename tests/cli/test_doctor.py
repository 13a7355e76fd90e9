"""The doctor finds what is wrong and shows no secret."""

import socket

import msgspec
import pytest

from tests.servers import free_port

SECRET = "a-secret-of-32-characters-or-more"


@pytest.fixture
def servers(monkeypatch):
    """Settings that are complete, and name servers that answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        for name, value in {
            "UPSTREAM": f"http://{address}",
            "KEY_PEPPER": SECRET,
            "API_TOKEN": SECRET,
            "KAFKA_BOOTSTRAP_SERVERS": address,
            "REDIS_URL": f"redis://:{SECRET}@{address}/0",
            "CLICKHOUSE_URL": f"http://user:{SECRET}@{address}",
        }.items():
            monkeypatch.setenv(f"WEIGHBRIDGE_{name}", value)
        yield address


def test_a_complete_installation_is_well_and_its_secrets_are_masked(weighbridge, servers):
    ran = weighbridge("doctor")
    assert ran.status == 0, ran.out
    assert "WRONG" not in ran.out
    assert SECRET not in ran.out
    settings = weighbridge("doctor", "--json").json()["settings"]
    assert settings["WEIGHBRIDGE_REDIS_URL"] == f"redis://***@{servers}/0"
    assert settings["WEIGHBRIDGE_KEY_PEPPER"] == "**********"


def test_missing_settings_and_servers_are_named(weighbridge, servers, monkeypatch):
    monkeypatch.delenv("WEIGHBRIDGE_KEY_PEPPER")
    monkeypatch.setenv("WEIGHBRIDGE_REDIS_URL", f"redis://:{SECRET}@127.0.0.1:{free_port()}/0")
    ran = weighbridge("doctor", "--json")
    assert ran.status == 1
    wrong = {finding["what"]: finding["says"] for finding in ran.json()["findings"] if not finding["well"]}
    assert "WEIGHBRIDGE_KEY_PEPPER" in wrong["settings of api"]
    assert "refused" in wrong["WEIGHBRIDGE_REDIS_URL"]
    assert SECRET not in ran.out


def test_a_running_up_is_looked_at_part_by_part(weighbridge, tmp_path, servers):
    dead = f"http://127.0.0.1:{free_port()}"
    known = {
        "proxies": [f"http://{servers}", dead],
        "upstreams": [dead],
        "api": dead,
        "kafka": servers,
        "redis": f"redis://{servers}/0",
        "clickhouse": f"http://{servers}",
        "database": "sqlite:///x.db",
    }
    (tmp_path / "endpoints.json").write_bytes(msgspec.json.encode(known))
    ran = weighbridge("doctor", "--data-dir", ".", "--json")
    assert ran.status == 1
    assert [finding["what"] for finding in ran.json()["findings"] if not finding["well"]] == [
        "proxy 2",
        "upstream",
        "api",
    ]


def test_an_upstream_that_wants_a_key_is_wrong_until_it_is_set(weighbridge, api, tmp_path, monkeypatch):
    known = {"proxies": [], "upstreams": [api.url], "api": api.url}
    known |= dict.fromkeys(("kafka", "redis", "clickhouse", "database"), "sqlite:///x.db")
    (tmp_path / "endpoints.json").write_bytes(msgspec.json.encode(known))
    api.answers |= {"GET /health": {}, "GET /readyz": {}, "GET /v1/models": [(401, {}), (401, {}), (200, {"data": []})]}
    ran = weighbridge("doctor", "--data-dir", ".")
    assert ran.status == 1
    assert "asks for a key: set WEIGHBRIDGE_UPSTREAM_API_KEY" in ran.out
    monkeypatch.setenv("WEIGHBRIDGE_UPSTREAM_API_KEY", "the-key")
    assert "refuses the key" in weighbridge("doctor", "--data-dir", ".").out
    assert weighbridge("doctor", "--data-dir", ".").status == 0
    assert "Bearer the-key" in api.tokens


def test_a_folder_that_was_named_and_where_nothing_runs_is_said(weighbridge, servers):
    ran = weighbridge("doctor", "--data-dir", "elsewhere")
    assert (ran.status, ran.out) == (1, "")
    assert "nothing runs on elsewhere" in ran.err
