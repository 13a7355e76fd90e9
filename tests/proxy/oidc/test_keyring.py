"""Keys are read when they are needed, not more often than that, and kept while they cannot be read."""

import asyncio

import msgspec
import pytest

from proxy.oidc import keyring as module
from proxy.oidc.keyring import Keyring

ISSUER = "https://idp/realm"


class Web:
    """What the identity provider publishes; `asked` are the URLs that were read."""

    def __init__(self, *kids):
        self.kids, self.asked, self.away = kids, [], False
        self.metadata = {"issuer": ISSUER, "jwks_uri": "https://idp/keys", "more": 1}

    async def fetch(self, url):
        self.asked.append(url)
        await asyncio.sleep(0)
        if self.away:
            raise OSError("away")
        if url == f"{ISSUER}/.well-known/openid-configuration":
            return msgspec.json.encode(self.metadata)
        keys = [each if isinstance(each, dict) else {"kid": each, "kty": "RSA"} for each in self.kids]
        return msgspec.json.encode({"keys": keys})


def kid(found):
    return found["kid"] if found is not None else None


async def test_keys_are_found_by_discovery_once_for_all_who_wait():
    web = Web("a", "b")
    keyring = Keyring(ISSUER, web.fetch)
    found = await asyncio.gather(*(keyring.find("a") for _ in range(20)))
    assert {kid(each) for each in found} == {"a"}
    assert kid(await keyring.find("b")) == "b"
    assert web.asked == [f"{ISSUER}/.well-known/openid-configuration", "https://idp/keys"]


async def test_names_of_keys_that_are_not_there_have_them_read_again_but_seldom(monkeypatch):
    web = Web("a")
    keyring = Keyring(ISSUER, web.fetch)
    for number in range(50):
        assert await keyring.find(f"invented-{number}") is None
    assert len(web.asked) == 2
    web.kids = ("a", "new")
    assert await keyring.find("new") is None
    monkeypatch.setattr(module, "RETRY_AFTER", 0.0)
    assert kid(await keyring.find("new")) == "new"


async def test_while_it_is_away_the_last_keys_stay(monkeypatch):
    monkeypatch.setattr(module, "RETRY_AFTER", 0.0)
    web = Web("a")
    keyring = Keyring(ISSUER, web.fetch)
    await keyring.find("a")
    web.away = True
    assert await keyring.find("b") is None
    assert not keyring.in_touch
    assert kid(await keyring.find("a")) == "a"
    web.away = False
    assert await keyring.find("b") is None
    assert keyring.in_touch


async def test_a_key_that_is_no_longer_published_is_forgotten(monkeypatch):
    monkeypatch.setattr(module, "REFRESH_EVERY", 0.01)
    monkeypatch.setattr(module, "RETRY_AFTER", 0.0)
    web = Web("a")
    keyring = Keyring(ISSUER, web.fetch)
    running = asyncio.create_task(keyring.run())
    await keyring.find("a")
    web.kids = ("b",)
    async with asyncio.timeout(120):
        while await keyring.find("a") is not None:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_token_without_a_name_of_a_key_has_the_only_one():
    assert kid(await Keyring(ISSUER, Web("a").fetch).find(None)) == "a"
    assert await Keyring(ISSUER, Web("a", "b").fetch).find(None) is None


@pytest.mark.parametrize("key", [{"kid": "a", "kty": "oct", "k": "c2VjcmV0"}, {"kid": "a", "kty": "RSA", "use": "enc"}])
async def test_secrets_and_keys_for_encryption_are_no_keys(key):
    assert await Keyring(ISSUER, Web(key).fetch).find("a") is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://idp/other", "jwks_uri": "https://idp/keys"},
        {"issuer": ISSUER, "jwks_uri": "http://idp/keys"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER},
    ],
)
async def test_a_document_that_is_not_the_issuers_own_is_not_believed(metadata):
    web = Web("a")
    web.metadata = metadata
    keyring = Keyring(ISSUER, web.fetch)
    assert await keyring.find("a") is None
    assert not keyring.in_touch
    assert len(web.asked) == 1
