"""What `up` would run, without running it."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded import plan
from embedded.plan import Choices, Given

PORTS = {"kafka": 1, "redis": 2, "clickhouse": 3, "sim": 4, "stream": 5, **{f"admin-{n}": 10 + n for n in range(1, 9)}}
CHOICES = Choices(
    data=Path("/data"),
    upstreams=(),
    proxy_ports=(8080,),
    api_port=8090,
    ports=PORTS,
    api_token="token",
    key_pepper="pepper",
)


def named(parts):
    return {part.name: part for part in parts}


def flag(part, name):
    return part.command[part.command.index(name) + 1]


def test_without_upstream_the_simulator_stands_in():
    assert list(named(plan.servers(CHOICES))) == ["redis", "kafka", "clickhouse", "sim"]
    assert flag(named(plan.proxies(CHOICES))["proxy-1"], "--upstream") == "http://127.0.0.1:4"


def test_each_upstream_has_a_proxy_with_ports_and_a_name_of_its_own():
    choices = replace(CHOICES, upstreams=("http://a:1", "http://b:2"), proxy_ports=(8080, 8081))
    assert "sim" not in named(plan.servers(choices))
    first, second = plan.proxies(choices)
    assert [flag(part, "--upstream") for part in (first, second)] == ["http://a:1", "http://b:2"]
    assert [flag(part, "--listen") for part in (first, second)] == ["127.0.0.1:8080", "127.0.0.1:8081"]
    assert [flag(part, "--instance") for part in (first, second)] == ["a:1", "b:2"]
    assert flag(first, "--admin") != flag(second, "--admin")


@pytest.mark.parametrize("server", ["kafka", "redis", "clickhouse"])
def test_a_server_that_exists_is_used_instead_of_an_embedded_one(server):
    choices = replace(CHOICES, given=Given(**{server: "there"}))
    assert server not in named(plan.servers(choices))
    assert "there" in plan.environment(choices).values()


def test_a_database_that_exists_is_used():
    assert plan.environment(CHOICES)["WEIGHBRIDGE_DATABASE_URL"] == "sqlite+aiosqlite:////data/weighbridge.db"
    choices = replace(CHOICES, given=Given(database="postgresql://there"))
    assert plan.environment(choices)["WEIGHBRIDGE_DATABASE_URL"] == "postgresql://there"


@given(upstreams=st.integers(1, 8), workers=st.integers(1, 16))
def test_all_producers_together_stay_within_what_the_embedded_broker_keeps(upstreams, workers):
    choices = replace(
        CHOICES,
        upstreams=tuple(f"http://v:{number}" for number in range(upstreams)),
        proxy_ports=tuple(range(8080, 8080 + upstreams)),
        workers=workers,
    )
    window = int(plan.environment(choices)["WEIGHBRIDGE_PUBLISH_WINDOW_BYTES"])
    assert 0 < window * upstreams * workers <= plan.PUBLISH_WINDOW_BYTES


def test_a_real_broker_needs_no_window_and_does_not_end_the_stream():
    choices = replace(CHOICES, given=Given(kafka="there:9092"))
    assert "WEIGHBRIDGE_PUBLISH_WINDOW_BYTES" not in plan.environment(choices)
    assert "WEIGHBRIDGE_STREAM_REREAD" not in plan.environment(choices)
    assert named(plan.services(choices))["stream"].needs == ()
    assert named(plan.services(CHOICES))["stream"].needs == ("kafka",)


def test_secrets_go_to_services_by_environment_and_nowhere_else():
    everything = [*plan.servers(CHOICES), plan.migration(CHOICES), *plan.services(CHOICES), *plan.proxies(CHOICES)]
    for part in everything:
        assert not {"token", "pepper"} & set(part.command)
        assert "pepper" not in repr(part)
    assert all("WEIGHBRIDGE_KEY_PEPPER" not in part.environment for part in plan.servers(CHOICES))


def test_endpoints_say_what_the_interface_promises():
    said = plan.endpoints(CHOICES, "wb_demo", {"proxy": [7], "stream": [8], "api": [9], "redis": [10]})
    assert said == {
        "proxy": "http://127.0.0.1:8080",
        "proxies": ["http://127.0.0.1:8080"],
        "api": "http://127.0.0.1:8090",
        "console": "http://127.0.0.1:8090/console",
        "upstreams": ["http://127.0.0.1:4"],
        "kafka": "127.0.0.1:1",
        "redis": "redis://127.0.0.1:2/0",
        "clickhouse": "http://127.0.0.1:3",
        "database": "sqlite+aiosqlite:////data/weighbridge.db",
        "api_token": "token",
        "demo_key": "wb_demo",
        "pids": {"proxy": [7], "stream": [8], "api": 9, "redis": 10},
    }
