"""A deployment into a Grafana: what it writes, that a second one writes nothing, and what it says when it cannot."""

from collections.abc import Iterator

import pytest

from dashboards import datasources, fleet, render
from dashboards.deploy import Deployed, DeployError, deploy
from tests.fake_grafana import FakeGrafana, fake_grafana
from tests.servers import free_port

CLICKHOUSE_UID, PROMETHEUS_UID = str(datasources.CLICKHOUSE.uid), str(datasources.PROMETHEUS.uid)
CLICKHOUSE = "http://grafana:s%40crt@clickhouse:8123"
PROMETHEUS = "http://prometheus:9090"


@pytest.fixture(params=["", "/monitoring"])
def grafana(request: pytest.FixtureRequest) -> Iterator[FakeGrafana]:
    with fake_grafana(request.param) as server:
        yield server


def run(grafana: FakeGrafana, clickhouse: str = CLICKHOUSE, token: str | None = None) -> Deployed:
    return deploy(grafana.url, token or grafana.token, clickhouse_url=clickhouse, prometheus_url=PROMETHEUS)


def test_everything_is_created_once(grafana: FakeGrafana) -> None:
    done = run(grafana)
    assert done.url == f"{grafana.url}/d/{fleet.UID}"
    assert len(done.changed) == 4
    assert grafana.folders.keys() == {"weighbridge"}
    assert grafana.sources.keys() == {CLICKHOUSE_UID, PROMETHEUS_UID}
    stored = grafana.boards[fleet.UID]
    assert stored["meta"]["folderUid"] == "weighbridge"
    assert {
        name: value for name, value in stored["dashboard"].items() if name not in ("id", "version")
    } == render.render()


def test_the_password_goes_where_grafana_keeps_it_secret(grafana: FakeGrafana) -> None:
    run(grafana)
    source = grafana.sources[CLICKHOUSE_UID]
    assert source["secret"] == {"password": "s@crt"}
    assert source["jsonData"]["username"] == "grafana"
    assert "s@crt" not in str({name: value for name, value in source.items() if name != "secret"})


def test_a_second_run_changes_nothing(grafana: FakeGrafana) -> None:
    run(grafana, "http://clickhouse:8123")
    grafana.calls.clear()
    assert run(grafana, "http://clickhouse:8123").changed == ()
    assert grafana.calls == []


def test_a_password_is_set_anew_each_time(grafana: FakeGrafana) -> None:
    run(grafana)
    grafana.calls.clear()
    assert run(grafana).changed == ()
    assert grafana.calls == [("PUT", f"/datasources/uid/{CLICKHOUSE_UID}")]


def test_what_somebody_changed_is_put_right(grafana: FakeGrafana) -> None:
    run(grafana)
    grafana.boards[fleet.UID]["dashboard"]["title"] = "mine"
    grafana.sources[PROMETHEUS_UID]["url"] = "http://elsewhere"
    done = run(grafana)
    assert done.changed == ("data source Weighbridge Prometheus", f"dashboard {fleet.TITLE}")
    assert grafana.sources[PROMETHEUS_UID]["url"] == PROMETHEUS
    assert grafana.boards[fleet.UID]["dashboard"]["title"] == fleet.TITLE


def test_a_dashboard_in_another_folder_is_brought_back(grafana: FakeGrafana) -> None:
    run(grafana)
    grafana.boards[fleet.UID]["meta"]["folderUid"] = "other"
    assert run(grafana).changed == (f"dashboard {fleet.TITLE}",)


def test_what_grafana_provisions_is_left_alone(grafana: FakeGrafana) -> None:
    run(grafana)
    for source in grafana.sources.values():
        source["readOnly"] = True
    grafana.boards[fleet.UID]["meta"]["provisioned"] = True
    grafana.calls.clear()
    done = run(grafana)
    assert len(done.provisioned) == 3
    assert grafana.calls == []


def test_wrong_token(grafana: FakeGrafana) -> None:
    with pytest.raises(DeployError, match="does not know this token"):
        run(grafana, token="glsa_wrong")
    assert grafana.calls == []


def test_token_that_may_not_write(grafana: FakeGrafana) -> None:
    grafana.role = "Viewer"
    with pytest.raises(DeployError, match="role Admin"):
        run(grafana)
    assert len(grafana.calls) == 1


def test_missing_plugin(grafana: FakeGrafana) -> None:
    grafana.plugins.remove(datasources.CLICKHOUSE_TYPE)
    with pytest.raises(DeployError, match="grafana cli plugins install grafana-clickhouse-datasource"):
        run(grafana)
    assert grafana.calls == []


def test_nothing_listens() -> None:
    with pytest.raises(DeployError, match=r"no Grafana answers at http://127\.0\.0\.1"):
        deploy(f"http://127.0.0.1:{free_port()}", "t", clickhouse_url=CLICKHOUSE, prometheus_url=PROMETHEUS)


def test_something_else_listens(grafana: FakeGrafana) -> None:
    with pytest.raises(DeployError, match="not as Grafana does"):
        deploy(f"{grafana.url}/wrong", grafana.token, clickhouse_url=CLICKHOUSE, prometheus_url=PROMETHEUS)


def test_no_address_of_clickhouse(grafana: FakeGrafana) -> None:
    with pytest.raises(ValueError, match="no address of ClickHouse") as error:
        run(grafana, "clickhouse://user:secret@host")
    assert "secret" not in str(error.value)


def test_a_user_and_password_in_the_address_do_not_show() -> None:
    with pytest.raises(DeployError) as error:
        deploy(f"http://admin:hush@127.0.0.1:{free_port()}", None, clickhouse_url=CLICKHOUSE, prometheus_url=PROMETHEUS)
    assert "hush" not in str(error.value)
