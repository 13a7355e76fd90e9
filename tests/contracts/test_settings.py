"""Settings: flags before environment before file; a wrong one is named, a secret never printed."""

import pytest

from contracts.settings import KafkaSettings, PepperSettings, RedisSettings, SettingsError, load


class Both(RedisSettings, PepperSettings):
    """What a service might need."""


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEIGHBRIDGE_KEY_PEPPER", "pepper-of-the-test")


def test_flags_win_then_environment_then_file(monkeypatch, tmp_path):
    (tmp_path / "weighbridge.toml").write_text('redis_url = "redis://file:1/0"\nlog_level = "debug"\n')
    assert load(Both).redis_url == "redis://file:1/0"
    monkeypatch.setenv("WEIGHBRIDGE_REDIS_URL", "redis://environment:1/0")
    assert load(Both).redis_url == "redis://environment:1/0"
    assert load(Both, redis_url="redis://flag:1/0", log_level=None).redis_url == "redis://flag:1/0"
    assert load(Both).log_level == "debug"


def test_the_file_can_be_elsewhere(monkeypatch, tmp_path):
    (tmp_path / "other.toml").write_text('log_level = "error"\n')
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG", str(tmp_path / "other.toml"))
    assert load(Both).log_level == "error"


@pytest.mark.parametrize("broken", [b"redis_url = ", b"\xff\xfe"])
def test_a_broken_file_is_named(tmp_path, broken):
    (tmp_path / "weighbridge.toml").write_bytes(broken)
    with pytest.raises(SettingsError, match=r"weighbridge.toml is no TOML"):
        load(Both)


def test_a_file_that_was_named_must_be_there(monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_CONFIG", "/nowhere.toml")
    with pytest.raises(SettingsError, match=r"WEIGHBRIDGE_CONFIG: there is no file /nowhere.toml"):
        load(Both)


@pytest.mark.parametrize("wrong", ["nonsense", "kafka:", "a:1,,b:2", "http://kafka:9092", ""])
def test_brokers_are_host_and_port(monkeypatch, wrong):
    monkeypatch.setenv("WEIGHBRIDGE_KAFKA_BOOTSTRAP_SERVERS", wrong)
    with pytest.raises(SettingsError, match="KAFKA_BOOTSTRAP_SERVERS"):
        load(KafkaSettings)


def test_several_brokers_are_taken(monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_KAFKA_BOOTSTRAP_SERVERS", "kafka-0:9092, kafka-1:9092")
    assert load(KafkaSettings).kafka_bootstrap_servers == "kafka-0:9092, kafka-1:9092"


def test_a_missing_setting_is_named(monkeypatch):
    monkeypatch.delenv("WEIGHBRIDGE_KEY_PEPPER")
    with pytest.raises(SettingsError, match=r"WEIGHBRIDGE_KEY_PEPPER is not set .*in weighbridge.toml"):
        load(Both)


def test_wrong_settings_are_all_named_and_secrets_are_not_shown(monkeypatch):
    monkeypatch.setenv("WEIGHBRIDGE_KEY_PEPPER", "short-secret")
    monkeypatch.setenv("WEIGHBRIDGE_REDIS_URL", "http://wrong")
    with pytest.raises(SettingsError) as caught:
        load(Both)
    message = str(caught.value)
    assert "WEIGHBRIDGE_KEY_PEPPER" in message
    assert "WEIGHBRIDGE_REDIS_URL" in message
    assert "short-secret" not in message


def test_secrets_print_as_stars():
    assert "pepper-of-the-test" not in repr(load(Both))
