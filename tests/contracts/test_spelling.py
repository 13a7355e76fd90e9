"""Names that nothing reads: told in the environment, refused in the file, with the nearest that is one."""

import pytest

from contracts.settings import SettingsError, load
from contracts.spelling import variables
from tests.contracts.test_settings import Both


def test_a_variable_that_nothing_reads_is_told() -> None:
    told = list(
        variables({"WEIGHBRIDGE_UPSTREM": "x", "WEIGHBRIDGE_QQQQ": "", "WEIGHBRIDGE_SPOOL_DIR": "y", "HOME": "z"})
    )
    assert told == [
        "WEIGHBRIDGE_UPSTREM is no setting and is ignored; did you mean WEIGHBRIDGE_UPSTREAM?",
        "WEIGHBRIDGE_QQQQ is no setting and is ignored",
    ]


@pytest.mark.parametrize(
    "name", ["CONFIG", "DATA_DIR", "API_URL", "GRAFANA_TOKEN", "TEST_VLLM_VENV", "API_SERVICE_HOST"]
)
def test_others_are_left_alone(name: str) -> None:
    assert list(variables({f"WEIGHBRIDGE_{name}": "x"})) == []


def test_what_kubernetes_writes_for_a_service_named_like_ours_is_left_alone() -> None:
    written = ["SERVICE_PORT_HTTP", "PORT", "PORT_8090_TCP", "PORT_8090_TCP_ADDR", "PORT_8090_TCP_PROTO"]
    assert list(variables({f"WEIGHBRIDGE_API_{name}": "x" for name in written})) == []


def test_a_key_of_the_file_that_is_none_stops_the_start(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIGHBRIDGE_KEY_PEPPER", "pepper-of-the-test")
    (tmp_path / "weighbridge.toml").write_text('spool_dir = "of another service"\nredis_ulr = "redis://x"\n')
    with pytest.raises(
        SettingsError, match=r"weighbridge.toml: there is no setting redis_ulr; did you mean redis_url\?"
    ):
        load(Both)
    (tmp_path / "weighbridge.toml").write_text('spool_dir = "of another service"\n')
    load(Both)
