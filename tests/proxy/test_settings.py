import msgspec
import pytest
import trustme

from contracts.settings import SettingsError, load
from proxy.plain import Plain, address
from proxy.settings import ProxySettings
from tests.proxy.slow.certificates import write

FINE = {"upstream": "http://127.0.0.1:8000", "key_pepper": "sixteen bytes or more", "spool_dir": "spool"}


def test_plain_settings_hold_every_value_and_reach_another_process_unchanged():
    settings = load(ProxySettings, **FINE, upstream_api_key="secret", trusted_proxies="10.0.0.1, ::1")
    plain = settings.plain()
    assert msgspec.json.decode(msgspec.json.encode(plain), type=Plain) == plain
    assert set(Plain.__struct_fields__) == set(ProxySettings.model_fields)
    assert (plain.upstream_api_key, plain.pepper) == ("secret", b"sixteen bytes or more")
    assert plain.trusted_proxies == ("10.0.0.1", "::1")
    for shown in (settings, plain, plain.traffic(("127.0.0.1", 1))):
        assert "secret" not in repr(shown)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("upstream", "127.0.0.1:8000"),
        ("upstream", "http://127.0.0.1:8000/v1"),
        ("upstream", "http://127.0.0.1:8000,http://127.0.0.1:8000/"),
        ("mode", "sideways"),
        ("tls_key", "/nowhere"),
        ("upstream_key", "/nowhere"),
        ("upstream_key", None),
        ("listen", "8080"),
        ("admin", "nowhere"),
        ("workers", "0"),
        ("spool_max_bytes", "1000"),
        ("on_spool_full", "maybe"),
        ("publish_window_bytes", "10"),
        ("grace_seconds", "0"),
        ("key_pepper", "short"),
    ],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(SettingsError, match=f"WEIGHBRIDGE_{name.upper()}"):
        load(ProxySettings, **(FINE | ({"upstream_cert": "/nowhere"} if value is None else {name: value})))


def test_files_of_tls(tmp_path):
    certificate, key = write(trustme.CA(), tmp_path)
    settings = load(ProxySettings, **FINE, tls_cert=certificate, tls_key=key, upstream_ca=certificate)
    config = settings.plain().traffic(("", 0))
    assert config.tls_files == (certificate, key)
    assert config.upstream_ca == certificate
    assert config.upstream_tls() is None  # plain http
    certificate.write_text("no certificate")
    with pytest.raises(SettingsError, match=r"WEIGHBRIDGE_TLS_KEY: .*cannot use"):
        load(ProxySettings, **FINE, tls_cert=certificate, tls_key=key)
    with pytest.raises(SettingsError, match=r"WEIGHBRIDGE_UPSTREAM_KEY: .*cannot use"):
        load(ProxySettings, **FINE, upstream_ca=certificate)


def test_several_upstreams_are_for_transparent_mode():
    two = FINE | {"upstream": "http://10.0.0.1:8000, https://10.0.0.2:8443/", "instance": "name"}
    with pytest.raises(SettingsError, match="WEIGHBRIDGE_MODE"):
        load(ProxySettings, **two)
    with pytest.raises(SettingsError, match="WEIGHBRIDGE_MODE"):
        load(ProxySettings, **(FINE | {"upstream": "http://vllm:8000"}), mode="transparent")
    plain = load(ProxySettings, **two, mode="transparent").plain()
    assert plain.traffic(("", 0)).transparent
    assert [(one.upstream, one.instance) for one in plain.each()] == [
        ("http://10.0.0.1:8000", "10.0.0.1:8000"),
        ("https://10.0.0.2:8443", "10.0.0.2:8443"),
    ]


def test_a_missing_upstream_is_named():
    with pytest.raises(SettingsError, match="WEIGHBRIDGE_UPSTREAM is not set"):
        load(ProxySettings, key_pepper="sixteen bytes or more")


@pytest.mark.parametrize(
    ("text", "expected"), [("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:8080", ("::1", 8080)), ("host:1", ("host", 1))]
)
def test_addresses(text, expected):
    assert address(text) == expected
