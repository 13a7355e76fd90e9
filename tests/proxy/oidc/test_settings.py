"""What an operator may say of an identity provider, and what comes of it."""

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contracts.projection import KeyRecord
from contracts.settings import SettingsError, load
from proxy.identities import Identities
from proxy.ports import Principal
from proxy.settings import ProxySettings
from tests.proxy.fakes import KEY
from tests.proxy.serving import ANSWER, BODY, CHAT, proxy, unary

NEEDED = {"upstream": "http://127.0.0.1:1", "key_pepper": "a pepper of sixteen bytes"}
OIDC = {"oidc_issuer": "https://idp/realm", "oidc_audience": "a, b"}


def test_settings_become_rules():
    rules = load(ProxySettings, **NEEDED, **OIDC, oidc_algorithms="ES256,EdDSA").plain().oidc_rules()
    assert rules is not None
    assert (rules.issuer, rules.audiences, rules.algorithms) == ("https://idp/realm", ("a", "b"), ("ES256", "EdDSA"))
    assert rules.leeway == timedelta(seconds=60)
    assert load(ProxySettings, **NEEDED).plain().oidc_rules() is None


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"oidc_audience": ""}, "OIDC_AUDIENCE"),
        ({"oidc_algorithms": "HS256"}, "OIDC_ALGORITHMS"),
        ({"oidc_algorithms": "none"}, "OIDC_ALGORITHMS"),
        ({"oidc_algorithms": ""}, "OIDC_ALGORITHMS"),
        ({"oidc_issuer": "idp"}, "OIDC_ISSUER"),
        ({"oidc_ca": "/nowhere.pem"}, "OIDC_CA"),
        ({"oidc_leeway_seconds": "-1"}, "OIDC_LEEWAY_SECONDS"),
    ],
)
def test_what_cannot_work_or_is_not_safe_stops_the_start_with_its_name(changes, name):
    with pytest.raises(SettingsError, match=f"WEIGHBRIDGE_{name}"):
        load(ProxySettings, **(NEEDED | OIDC | changes))


@pytest.mark.parametrize(("enforce", "guarded"), [("on", True), ("shadow", False), ("off", False)])
async def test_guesses_are_bounded_only_where_keys_are_asked_for(tmp_path, enforce, guarded):
    settings = load(ProxySettings, **NEEDED, **OIDC, enforce=enforce, spool_dir=str(tmp_path)).plain()
    identities = Identities(settings, 1, CollectorRegistry())
    assert (identities.directory._gate._guard is not None) == guarded
    parts: list[Any] = [*identities.parts()]
    assert [part.__qualname__ for part in parts] == ["ChangeReader.run", "KeySaver.run", "Keyring.run"]
    for part in parts:
        part.close()
    await identities.close()


async def test_usage_by_a_token_has_no_key():
    async with proxy(unary) as running:
        running.directory.known[KEY] = Principal(KeyRecord(id="", tenant="ten_a", user="user_f", revision=0), {})
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY.decode()}\r\n"
        answer = await running.ask(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        assert answer.body == ANSWER
        used = await running.settled()
        [decided] = running.recorder.opens
    assert (
        (used.tenant, used.user, used.key) == (decided.tenant, decided.user, decided.key) == ("ten_a", "user_f", None)
    )
