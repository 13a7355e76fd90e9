"""Keys: made, imported, changed, rotated, revoked; the secret is shown once and never stored."""

from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import select

from billing_api.keys.models import Key
from contracts import keys, redis_keys
from contracts.projection import KeyRecord, key_decoder
from tests.billing_api.conftest import NOW, PEPPER, Api


def stored_under(secret: str) -> str:
    return redis_keys.key_record(keys.digest(secret.encode(), PEPPER.encode()))


async def record_of(redis: Redis, secret: str) -> KeyRecord:
    raw = await redis.hget(stored_under(secret), "record")
    assert raw is not None
    return key_decoder.decode(raw)


async def test_a_new_key_is_shown_once_and_projected(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    body = {"tenant": tenant, "name": "ci", "models": ["llama"], "addresses": ["10.1.2.3", "10.0.0.0/8"]}
    made = await api.post("/v1/keys", body)
    parsed = keys.parse(made["secret"])
    assert parsed is not None
    assert (parsed.key_id, parsed.environment) == (made["id"], "live")
    assert made["hint"] == keys.hint(made["secret"])
    assert made["addresses"] == ["10.1.2.3/32", "10.0.0.0/8"]
    shown = await api.get(f"/v1/keys/{made['id']}")
    assert "secret" not in shown
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    record = await record_of(redis, made["secret"])
    assert (record.id, record.tenant, record.status) == (made["id"], tenant, "active")
    assert (record.models, record.endpoints, record.addresses) == (("llama",), None, ("10.1.2.3/32", "10.0.0.0/8"))


async def test_no_secret_is_anywhere_in_sql_or_the_audit(api: Api) -> None:
    secret = "sk-imported-0123456789"
    tenant = await api.tenant()
    made = await api.post("/v1/keys", {"tenant": tenant, "secret": secret}, headers={"Idempotency-Key": "one"})
    assert made["secret"] is None
    assert made["imported"] is True
    async with api.services.database.reading() as session:
        row = (await session.scalars(select(Key))).one()
        assert secret not in repr(vars(row))
    acts = await api.get("/v1/audit/actions")
    assert secret not in repr(acts)
    assert [act["action"] for act in acts["data"] if act["target"] == made["id"]] == ["key.import"]


async def test_an_imported_key_is_found_by_its_digest_and_taken_once(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    secret = "sk-imported-0123456789"
    await api.post("/v1/keys", {"tenant": tenant, "secret": secret})
    assert await redis.exists(stored_under(secret))
    problem = await api.post("/v1/keys", {"tenant": tenant, "secret": secret}, 409)
    assert problem["code"] == "key_exists"
    assert secret not in repr(problem)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"secret": "short"}, "invalid_request"),
        ({"secret": "has spaces in the middle"}, "invalid_request"),
        ({"secret": "ümlauts-in-the-middle-of"}, "invalid_request"),
        ({"secret": "x" * 513}, "invalid_request"),
        ({"addresses": ["10.0.0.1/8"]}, "invalid_request"),
        ({"addresses": ["localhost"]}, "invalid_request"),
        ({"endpoints": ["/v1/chat/completion"]}, "unknown_endpoint"),
        ({"endpoints": ["chat"]}, "unknown_endpoint"),
        ({"models": "llama"}, "invalid_request"),
        ({"models": [""]}, "invalid_request"),
        ({"expires_at": 1_700_000_000}, "invalid_request"),
        ({"expires_at": "2026-12-01"}, "invalid_request"),
        ({"expires_at": "2026-12-01T00:00:00"}, "invalid_request"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "invalid_request"),
        ({"expires_at": "2026-11-21T12:00:00Z"}, "expired"),
        ({"environment": "prod"}, "invalid_request"),
        ({"tenant": "ten_0"}, "unknown_tenant"),
        ({"team": "team_0"}, "unknown_team"),
        ({"user": "user_0"}, "unknown_user"),
        ({"status": "active"}, "invalid_request"),
    ],
)
async def test_bad_keys_are_refused_without_showing_what_was_sent(api: Api, fields: Any, code: str) -> None:
    problem = await api.post("/v1/keys", {"tenant": await api.tenant(), **fields}, 422)
    assert problem["code"] == code
    assert str(fields.get("secret")) not in repr(problem)


async def test_a_key_names_endpoints_that_proxies_answer(api: Api) -> None:
    tenant = await api.tenant()
    problem = await api.post("/v1/keys", {"tenant": tenant, "endpoints": ["/v1/chat/completion"]}, 422)
    assert "did you mean /v1/chat/completions?" in problem["detail"]
    known = ["/v1/responses/{response_id}", "/opened/by/operators"]
    made = await api.post("/v1/keys", {"tenant": tenant, "endpoints": known})
    assert made["endpoints"] == known
    assert (await api.patch(f"/v1/keys/{made['id']}", {"endpoints": ["/nope"]}, 422))["code"] == "unknown_endpoint"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tenant": "Search"}, "body.tenant: give an id, such as ten_01j2…"),
        ({"tags": {"a b": "c"}}, "letters, digits, dots"),
        ({"secret": "has spaces in the middle"}, "no spaces"),
        ({"colour": "red"}, "body.colour: there is no such field"),
        ({"expires_at": "soon"}, "body.expires_at: a time is RFC 3339"),
    ],
)
async def test_what_is_wrong_is_said_in_words(api: Api, fields: Any, says: str) -> None:
    detail = (await api.post("/v1/keys", {"tenant": await api.tenant(), **fields}, 422))["detail"]
    assert says in detail
    assert not any(jargon in detail for jargon in ("pattern", "Value error", "^"))


async def test_a_key_of_another_tenants_user_is_refused(api: Api) -> None:
    mine, other = await api.tenant(), await api.tenant()
    user = await api.post("/v1/users", {"tenant": other, "name": "Eve"})
    problem = await api.post("/v1/keys", {"tenant": mine, "user": user["id"]}, 422)
    assert problem["code"] == "wrong_tenant"


async def test_revoking_holds_at_once_and_for_good(api: Api, redis: Redis) -> None:
    made = await api.post("/v1/keys", {"tenant": await api.tenant()})
    revoked = await api.post(f"/v1/keys/{made['id']}/revoke", status=200)
    assert (revoked["status"], revoked["revoked_at"]) == ("revoked", "2026-11-21T12:00:00Z")
    record = await record_of(redis, made["secret"])
    assert record.status == "revoked"
    api.clock.forward(seconds=5)
    assert await api.post(f"/v1/keys/{made['id']}/revoke", status=200) == revoked
    assert (await api.patch(f"/v1/keys/{made['id']}", {"name": "x"}, 409))["code"] == "key_revoked"
    assert (await api.post(f"/v1/keys/{made['id']}/rotate", {}, 409))["code"] == "key_revoked"


async def test_rotation_overlaps_for_as_long_as_asked(api: Api, redis: Redis) -> None:
    made = await api.post("/v1/keys", {"tenant": await api.tenant(), "models": ["llama"], "tags": {"a": "b"}})
    new = await api.post(f"/v1/keys/{made['id']}/rotate", {"overlap_seconds": 60})
    assert (new["replaces"], new["models"], new["tags"]) == (made["id"], ["llama"], {"a": "b"})
    assert new["expires_at"] is None
    assert new["secret"] != made["secret"]
    old = await record_of(redis, made["secret"])
    assert (old.status, old.expires_at) == ("active", NOW + timedelta(seconds=60))
    assert (await api.get(f"/v1/keys/{made['id']}"))["status"] == "active"
    assert (await api.post(f"/v1/keys/{made['id']}/rotate", {}, 409))["code"] == "key_rotated"
    api.clock.forward(seconds=60)
    assert (await api.get(f"/v1/keys/{made['id']}"))["status"] == "expired"
    assert (await api.post(f"/v1/keys/{made['id']}/rotate", {}, 409))["code"] == "key_expired"


async def test_rotation_never_prolongs_a_key(api: Api) -> None:
    expiry = "2026-11-21T12:00:10Z"
    made = await api.post("/v1/keys", {"tenant": await api.tenant(), "expires_at": expiry})
    new = await api.post(f"/v1/keys/{made['id']}/rotate", {"overlap_seconds": 60})
    assert (await api.get(f"/v1/keys/{made['id']}"))["expires_at"] == expiry
    assert new["expires_at"] == expiry


async def test_rotation_without_overlap_ends_the_old_key(api: Api) -> None:
    made = await api.post("/v1/keys", {"tenant": await api.tenant()})
    await api.post(f"/v1/keys/{made['id']}/rotate")
    assert (await api.get(f"/v1/keys/{made['id']}"))["status"] == "revoked"


async def test_a_key_is_changed_and_listed_by_owner(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    team = await api.post("/v1/teams", {"tenant": tenant, "name": "t"})
    made = await api.post("/v1/keys", {"tenant": tenant, "team": team["id"]})
    await api.post("/v1/keys", {"tenant": await api.tenant()})
    changed = await api.patch(f"/v1/keys/{made['id']}", {"models": ["a"], "expires_at": "2027-01-01T01:00:00+01:00"})
    assert changed["expires_at"] == "2027-01-01T00:00:00Z"
    assert (await record_of(redis, made["secret"])).models == ("a",)
    assert (await api.get("/v1/keys", team=team["id"]))["data"] == [changed]
    assert len((await api.get("/v1/keys"))["data"]) == 2
    assert (await api.post("/v1/keys/key_0/revoke", status=404))["code"] == "not_found"


@pytest.mark.parametrize("overlap", [-1, 1.5, "60", 10**9])
async def test_a_strange_overlap_is_refused(api: Api, overlap: Any) -> None:
    made = await api.post("/v1/keys", {"tenant": await api.tenant()})
    problem = await api.post(f"/v1/keys/{made['id']}/rotate", {"overlap_seconds": overlap}, 422)
    assert problem["code"] == "invalid_request"
