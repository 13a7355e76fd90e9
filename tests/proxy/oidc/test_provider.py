"""Tokens of a real identity provider, from its token endpoint to who sends a request."""

from datetime import timedelta

import pytest

from contracts import redis_keys
from contracts.clock import utc_now
from proxy import key_directory
from proxy.guard import ADDRESS_BURST, Guard
from proxy.identity import EXPIRED, EXPIRED_TOKEN, SUSPENDED, UNAVAILABLE, UNKNOWN_TENANT, UNKNOWN_USER
from proxy.oidc import keyring as keyring_module
from proxy.oidc.fetch import fetcher
from proxy.oidc.keyring import Keyring
from proxy.oidc.rules import Rules
from proxy.oidc.tokens import Tokens
from proxy.ports import Principal, Refusal
from tests.proxy import parts
from tests.proxy.directories import TOKEN, Api, directory_at, until
from tests.proxy.oidc.provider import AUDIENCE, provider

HERE = "192.0.2.1"
WHOLE = {"tenant": "acme", "groups": ["/everybody", "/research"], "sub": "f00-ba4"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(key_directory, "PATIENCE", 0.0)
    monkeypatch.setattr(keyring_module, "RETRY_AFTER", 0.0)


@pytest.fixture(scope="module")
def idp(tmp_path_factory):
    with provider(tmp_path_factory.mktemp("idp")) as running:
        yield running


@pytest.fixture
def server(tmp_path):
    with parts.redis(tmp_path) as running:
        yield running


@pytest.fixture
def api(server):
    made = Api(server.address)
    made.subject("tenant", "ten_a", external_id="acme", tags={"who": "tenant"})
    made.subject("team", "team_r", tenant="ten_a", external_id="/research", tags={"who": "team"})
    made.subject("user", "user_f", tenant="ten_a", external_id="f00-ba4")
    made.subject("tenant", "ten_b", external_id="other")
    made.subject("user", "user_b", tenant="ten_b", external_id="f00-ba5")
    made.key()
    made.whole()
    yield made
    made.redis.close()


def tokens_of(idp, **changes):
    rules = {
        "issuer": idp.issuer,
        "audiences": (AUDIENCE,),
        "algorithms": ("RS256",),
        "tenant_claim": "tenant",
        "team_claim": "groups",
        "user_claim": "sub",
        "tenant": None,
        "unknown_users": "allow",
        "leeway": timedelta(seconds=60),
    }
    return Tokens(Rules(**(rules | changes)), Keyring(idp.issuer, fetcher(str(idp.ca))))


def who(found):
    assert isinstance(found, Principal), found
    return found.key.tenant, found.key.team, found.key.user


async def test_a_token_stands_for_whom_its_claims_name_by_external_ids_and_by_ids(idp, api):
    async with directory_at(api.address, tokens=tokens_of(idp)) as directory:
        token = idp.token(**WHOLE)
        found = await directory.find(token, HERE, utc_now())
        assert who(found) == ("ten_a", "team_r", "user_f")
        assert found.tags == {"who": "team"}
        assert directory.cached(token, utc_now()) == found, "the next request asks nobody"
        by_id = idp.token(tenant="ten_a", groups="team_r", sub="user_f")
        assert who(await directory.find(by_id, HERE, utc_now())) == ("ten_a", "team_r", "user_f")
        alone = idp.token(tenant="acme", groups=["/nobody"], sub="nobody")
        assert who(await directory.find(alone, HERE, utc_now())) == ("ten_a", None, None)
        assert isinstance(await directory.find(TOKEN, HERE, utc_now()), Principal), "keys go on"


async def test_nobody_becomes_another_tenants_user_or_team(idp, api):
    api.subject("team", "team_b", tenant="ten_b", external_id="/research-b")
    async with directory_at(api.address, tokens=tokens_of(idp)) as directory:
        for user in ("user_b", "f00-ba5"):
            token = idp.token(tenant="acme", groups=["team_b", "/research-b"], sub=user)
            assert who(await directory.find(token, HERE, utc_now())) == ("ten_a", None, None)
        for tenant in ("team_r", "user_f", "/research"):
            assert await directory.find(idp.token(tenant=tenant), HERE, utc_now()) == UNKNOWN_TENANT


async def test_unknown_tenants_and_where_it_is_asked_for_users_are_refused(idp, api):
    async with directory_at(api.address, tokens=tokens_of(idp, unknown_users="deny")) as directory:
        assert await directory.find(idp.token(**WHOLE | {"tenant": "nobody"}), HERE, utc_now()) == UNKNOWN_TENANT
        assert await directory.find(idp.token(**WHOLE | {"sub": "nobody"}), HERE, utc_now()) == UNKNOWN_USER
        assert who(await directory.find(idp.token(**WHOLE), HERE, utc_now())) == ("ten_a", "team_r", "user_f")
        without = await directory.find(idp.token(groups=[], sub="f00-ba4"), HERE, utc_now())
        assert isinstance(without, Refusal)
        assert "names no tenant" in without.message
    async with directory_at(api.address, tokens=tokens_of(idp, tenant="acme")) as directory:
        assert who(await directory.find(idp.token(sub="f00-ba4"), HERE, utc_now())) == ("ten_a", None, "user_f")


@pytest.mark.parametrize(("kind", "name"), [("tenant", "ten_a"), ("team", "team_r"), ("user", "user_f")])
async def test_who_is_suspended_is_refused_while_the_token_is_still_good(idp, api, kind, name):
    async with directory_at(api.address, tokens=tokens_of(idp)) as directory:
        await until(lambda: directory.reader.whole)
        token = idp.token(**WHOLE)
        found = await directory.find(token, HERE, utc_now())
        assert isinstance(found, Principal)
        external = {"tenant": "acme", "team": "/research", "user": "f00-ba4"}[kind]
        tenant = {} if kind == "tenant" else {"tenant": "ten_a"}
        api.subject(kind, name, status="suspended", external_id=external, **tenant)
        await until(lambda: directory.cached(token, utc_now()) is None)
        refused = await directory.find(token, HERE, utc_now())
        assert refused == SUSPENDED[kind]
        assert refused.who.key.tenant == "ten_a"


async def test_an_external_id_that_another_tenant_took_over_is_the_others(idp, api):
    async with directory_at(api.address, tokens=tokens_of(idp)) as directory:
        await until(lambda: directory.reader.whole)
        token = idp.token(tenant="acme")
        assert who(await directory.find(token, HERE, utc_now()))[0] == "ten_a"
        api.subject("tenant", "ten_a", external_id="acme-old")
        await until(lambda: directory.cached(token, utc_now()) is None)
        assert await directory.find(token, HERE, utc_now()) == UNKNOWN_TENANT, "the entry of the old name is of no use"
        api.subject("tenant", "ten_b", external_id="acme")
        await until(lambda: directory.cached(token, utc_now()) is None)
        assert who(await directory.find(token, HERE, utc_now()))[0] == "ten_b"


async def test_keys_are_rotated_and_read_again_when_a_new_one_is_used(idp, api):
    async with directory_at(api.address, tokens=tokens_of(idp)) as directory:
        before = idp.token(**WHOLE)
        assert isinstance(await directory.find(before, HERE, utc_now()), Principal)
        idp.rotate(keep=1)
        after = idp.token(**WHOLE)
        assert isinstance(await directory.find(after, HERE, utc_now()), Principal)
        directory.forget_answers()
        assert isinstance(await directory.find(before, HERE, utc_now()), Principal), "still published"
        idp.rotate(keep=0)
        assert isinstance(await directory.find(idp.token(**WHOLE), HERE, utc_now()), Principal)
        directory.forget_answers()
        withdrawn = await directory.find(before, HERE, utc_now())
        assert isinstance(withdrawn, Refusal)
        assert "key is not known" in withdrawn.message


async def test_while_the_provider_is_away_its_last_keys_hold(idp, api):
    async with directory_at(api.address, tokens=tokens_of(idp)) as directory:
        assert isinstance(await directory.find(idp.token(**WHOLE), HERE, utc_now()), Principal)
        another = idp.token(**WHOLE, jti="another")
        idp.rotate()
        unseen = idp.token(**WHOLE)
        idp.stop()
        try:
            assert isinstance(await directory.find(another, HERE, utc_now()), Principal)
            assert await directory.find(unseen, HERE, utc_now()) == UNAVAILABLE, "neither let in nor called invalid"
        finally:
            idp.start()
        assert isinstance(await directory.find(unseen, HERE, utc_now()), Principal)


async def test_while_redis_is_away_those_who_are_remembered_go_on(idp, api, server):
    async with directory_at(api.address, tokens=tokens_of(idp)) as directory:
        await until(lambda: directory.reader.whole)
        assert isinstance(await directory.find(idp.token(**WHOLE), HERE, utc_now()), Principal)
        server.kill()
        await until(lambda: not directory.connected)
        assert who(await directory.find(idp.token(**WHOLE, jti="2"), HERE, utc_now())) == ("ten_a", "team_r", "user_f")
        perhaps_suspended = idp.token(**WHOLE | {"sub": "unseen"})
        assert await directory.find(perhaps_suspended, HERE, utc_now()) == UNAVAILABLE


async def test_an_answer_is_kept_until_the_token_ends(idp, api):
    async with directory_at(api.address, tokens=tokens_of(idp)) as directory:
        token = idp.token(**WHOLE)
        now = utc_now()
        found = await directory.find(token, HERE, now)
        ends = found.key.expires_at
        assert timedelta(seconds=300) < ends - now < timedelta(seconds=370), "its lifetime and the leeway"
        assert isinstance(directory.cached(token, ends - timedelta(seconds=1)), Principal)
        assert directory.cached(token, ends) == EXPIRED
        idp.lifetime = -120
        try:
            assert await directory.find(idp.token(**WHOLE), HERE, utc_now()) == EXPIRED_TOKEN
        finally:
            idp.lifetime = 300


async def test_tokens_for_others_are_failures_of_their_address(idp, api):
    async with directory_at(api.address, tokens=tokens_of(idp), guard=Guard()) as directory:
        good = idp.token(**WHOLE)
        assert isinstance(await directory.find(good, HERE, utc_now()), Principal)
        other = idp.token(aud="another-service", tenant="acme")
        found = [await directory.find(other + b"%d" % number, HERE, utc_now()) for number in range(4 * ADDRESS_BURST)]
        assert found[0].code == "invalid_api_key"
        assert found[-1].code == "rate_limit_exceeded"
        assert isinstance(await directory.find(good, HERE, utc_now()), Principal)


async def test_without_an_identity_provider_a_token_is_a_key_that_nobody_holds(idp, api):
    token = idp.token(**WHOLE)
    async with directory_at(api.address) as directory:
        assert (await directory.find(token, HERE, utc_now())).code == "invalid_api_key"
        api.key(token)
        directory.forget_answers()
        assert (await directory.find(token, HERE, utc_now())).key.id == "key_1"
    assert api.redis.exists(redis_keys.external_id("tenant", None, "acme"))
