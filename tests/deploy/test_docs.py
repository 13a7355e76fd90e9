"""The generated tables of the operator's page are those of the code."""

import importlib.util
from types import ModuleType

import pytest

from contracts import metrics
from contracts.settings import ENV_PREFIX
from tests import compose
from tests.servers import ROOT


@pytest.fixture(scope="module")
def write_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "deploy" / "write_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "operations.md").read_text()


def test_tables_are_up_to_date(write_docs: ModuleType, page: str) -> None:
    assert page == write_docs.page(page), "run python deploy/write_docs.py"


def test_names_of_settings_are_up_to_date(write_docs: ModuleType) -> None:
    assert (ROOT / write_docs.NAMES).read_text() == write_docs.names_module(), "run python deploy/write_docs.py"


def test_a_table_that_is_not_is_noticed(write_docs: ModuleType, page: str) -> None:
    assert write_docs.page(page.replace("| `weighbridge_spool_bytes` |", "| `weighbridge_spool_byte` |")) == page


def test_every_setting_and_metric_is_there(write_docs: ModuleType, page: str) -> None:
    for kind in write_docs.SERVICES.values():
        assert all(f"| `{ENV_PREFIX}{name.upper()}` |" in page for name in kind.model_fields)
    assert all(f"| `{metric.name}` |" in page for metric in metrics.ALL)


def test_no_secret_has_a_default(write_docs: ModuleType) -> None:
    rows = [row for row in write_docs.settings_table().splitlines() if "a secret" in row]
    assert rows
    assert all("| none |" in row or "| **required** |" in row for row in rows)


def test_ports_are_those_of_the_compose_file(page: str) -> None:
    for name, port in {"proxy": "8080", "stream": "9465", "api": "8090"}.items():
        assert any(word.endswith(f":{port}") for word in compose.services()[name]["command"])
        assert f"| {name} | {port} (" in page
