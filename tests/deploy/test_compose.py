"""The compose file: valid, pinned, watched, and speaking of settings and files that exist."""

import re
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from ruamel.yaml import YAML

from cli.migrate import MigrateSettings
from contracts.settings import ENV_PREFIX, Settings
from dashboards import datasources, render
from dashboards.deploy import FOLDER_TITLE, FOLDER_UID
from tests import compose
from tests.compose import services
from tests.servers import ROOT

SCHEMA = Path(__file__).parent / "compose-spec.json"
KEEPS_DATA = {"kafka", "redis", "clickhouse", "postgres", "prometheus", "grafana", "proxy", "vllm"}
SETTINGS: dict[str, str] = {
    "proxy": "proxy.settings:ProxySettings",
    "stream": "stream.settings:StreamSettings",
    "api": "billing_api.settings:ApiSettings",
}


def settings_of(service: str) -> type[Settings]:
    if service == "migrate":
        return MigrateSettings
    module, _, name = SETTINGS[service].partition(":")
    kind: type[Settings] = getattr(import_module(module), name)
    return kind


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def test_is_valid_by_the_compose_specification() -> None:
    schema = msgspec.json.decode(SCHEMA.read_bytes())
    jsonschema.Draft202012Validator(schema).validate(compose.load())


def test_the_schema_would_notice_a_mistake() -> None:
    schema = msgspec.json.decode(SCHEMA.read_bytes())
    wrong = {"services": {"api": {**services()["api"], "helthcheck": {}}}}
    assert not jsonschema.Draft202012Validator(schema).is_valid(wrong)


def test_all_parts_are_there() -> None:
    assert services().keys() == {
        "vllm", "proxy", "stream", "api", "migrate", "kafka", "redis", "clickhouse", "postgres", "prometheus", "grafana",
    }  # fmt: skip


@pytest.mark.parametrize("name", services())
def test_images_are_pinned(name: str) -> None:
    image = services()[name]["image"]
    assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+(-[\w.]+)?", image), f"{image} moves"


def test_our_images_carry_the_project_s_version() -> None:
    version = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]["version"]
    assert {service["image"] for service in compose.own().values()} == {
        f"weighbridge-{name}:{version}" for name in compose.own()
    }


@pytest.mark.parametrize("name", sorted(services().keys() - {"migrate"}))
def test_every_part_that_stays_is_watched_and_restarted(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"][0] == "CMD", "exec form: images without a shell"
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(KEEPS_DATA))
def test_what_keeps_data_has_a_named_volume(name: str) -> None:
    sources = {volume.partition(":")[0] for volume in services()[name]["volumes"]}
    assert sources & compose.load()["volumes"].keys()


def test_named_volumes_are_declared_and_used_and_files_exist() -> None:
    sources = {volume.partition(":")[0] for service in services().values() for volume in service.get("volumes", [])}
    assert {source for source in sources if not source.startswith(".")} == compose.load()["volumes"].keys()
    for source in sources:
        assert not source.startswith(".") or (ROOT / source).is_file(), source


def test_a_part_waits_for_health_where_there_is_a_check() -> None:
    for name, service in services().items():
        for other, how in service.get("depends_on", {}).items():
            if other == "migrate":
                assert how == {"condition": "service_completed_successfully"}
            elif (name, other) != ("proxy", "vllm"):
                assert how == {"condition": "service_healthy"}, (name, other)


def test_the_example_has_every_variable_and_no_secret() -> None:
    assert compose.references(compose.load()) == compose.example().keys()
    given = {name for name, value in compose.example().items() if value}
    assert given == {"VLLM_MODEL"}


@pytest.mark.parametrize("name", sorted(compose.example().keys() - {"HF_TOKEN"}))
def test_a_missing_secret_stops_compose_with_its_name(name: str) -> None:
    without = {**compose.filled(), name: ""}
    texts = [str(value) for service in services().values() for value in service.get("environment", {}).values()]
    texts += [word for service in services().values() for word in service.get("command", [])]
    with pytest.raises(ValueError, match=f"{name}: set it in"):
        compose.interpolate("\n".join(texts), without)


@pytest.mark.parametrize("name", compose.own())
def test_our_variables_are_settings_of_that_service(name: str) -> None:
    fields = settings_of(name).model_fields
    for variable in compose.own()[name]["environment"]:
        assert variable.startswith(ENV_PREFIX), variable
        assert variable.removeprefix(ENV_PREFIX).lower() in fields, variable


@pytest.mark.parametrize("name", compose.own())
def test_our_containers_may_do_little(name: str) -> None:
    service = compose.own()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_only_the_proxy_is_published_beyond_this_machine() -> None:
    ports = {(name, port) for name, service in services().items() for port in service.get("ports", [])}
    assert {(name, port) for name, port in ports if not port.startswith("127.0.0.1:")} == {("proxy", "8080:8080")}


def test_prometheus_scrapes_parts_that_are_there_at_ports_they_listen_on() -> None:
    config = yaml(ROOT / "deploy" / "prometheus.yml")
    for job in config["scrape_configs"]:
        [target] = job["static_configs"][0]["targets"]
        name, _, port = target.partition(":")
        assert name == job["job_name"]
        assert any(word.endswith(port) for word in services()[name]["command"]), target
    assert config["global"]["scrape_interval"] == datasources.SCRAPE_INTERVAL


def test_grafana_is_provisioned_with_what_a_deployment_would_give_it() -> None:
    sources = yaml(ROOT / "dashboards" / "provisioning" / "datasources" / "weighbridge.yaml")["datasources"]
    clickhouse = datasources.clickhouse("http://grafana:secret@clickhouse:8123")
    clickhouse["secureJsonData"] = {"password": "$GRAFANA_CLICKHOUSE_PASSWORD"}
    assert sources == [clickhouse, datasources.prometheus("http://prometheus:9090")]
    [provider] = yaml(ROOT / "dashboards" / "provisioning" / "dashboards" / "weighbridge.yaml")["providers"]
    assert (provider["folder"], provider["folderUid"]) == (FOLDER_TITLE, FOLDER_UID)
    mounts = {volume.split(":")[0]: volume.split(":")[1] for volume in services()["grafana"]["volumes"]}
    assert mounts[f"./{render.FILE.relative_to(ROOT)}"].startswith(provider["options"]["path"])
    assert services()["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_SYNC"].startswith(datasources.CLICKHOUSE_TYPE)


def test_grafana_s_user_of_clickhouse_only_reads() -> None:
    root = ET.parse(ROOT / "deploy" / "clickhouse" / "grafana.xml").getroot()
    assert root.findtext("users/grafana/grants/query") == "GRANT SELECT ON weighbridge.*"
    assert root.findtext(f"profiles/{root.findtext('users/grafana/profile')}/readonly") == "2"
    password = root.find("users/grafana/password")
    assert password is not None
    assert password.get("from_env") in services()["clickhouse"]["environment"]
