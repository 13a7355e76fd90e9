"""Limits: created, changed, ended, listed; what makes no sense is refused in words; in Redis when the answer comes."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from contracts import redis_keys
from contracts.limits import LimitRecord
from contracts.projection import key_decoder, subject_decoder
from tests.billing_api.conftest import Api
from tests.billing_api.test_keys import record_of

TOKENS = {"meter": "total_tokens", "window": "minute", "amount": "10000"}


async def limits_of(redis: Redis, kind: redis_keys.SubjectKind, subject: str) -> tuple[LimitRecord, ...]:
    raw: Any = await redis.hget(redis_keys.subject_record(kind, subject), "record")
    return subject_decoder.decode(raw).limits


async def test_a_limit_has_the_promised_fields_and_is_in_redis_when_it_is_answered(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    before = await redis.xlen(redis_keys.CHANGES)
    made = await api.post("/v1/limits", {"subject": {"tenant": tenant, "model": None}, **TOKENS})
    assert made["id"].startswith("lim_")
    assert made["subject"] == {"tenant": tenant, "team": None, "user": None, "key": None, "model": None}
    assert (made["amount"], made["precision"], made["mode"], made["on_outage"]) == (
        "10000",
        "strict",
        "enforce",
        "deny",
    )
    assert (made["notify_at"], made["when_reached"], made["plan"]) == ([50, 80, 100], "block", None)
    assert await api.get(f"/v1/limits/{made['id']}") == made
    assert await limits_of(redis, "tenant", tenant) == (
        LimitRecord(id=made["id"], meter="total_tokens", window="minute", amount=10_000),
    )
    assert await redis.xlen(redis_keys.CHANGES) == before + 1


async def test_a_changed_limit_is_projected_with_its_subject(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    made = await api.post("/v1/limits", {"subject": {"tenant": tenant}, **TOKENS, "precision": "expected"})
    body = {"amount": "5", "mode": "shadow", "on_outage": "share", "notify_at": [100, 90]}
    changed = await api.patch(f"/v1/limits/{made['id']}", body)
    assert (changed["amount"], changed["notify_at"], changed["precision"]) == ("5", [90, 100], "expected")
    (held,) = await limits_of(redis, "tenant", tenant)
    assert (held.amount, held.mode, held.on_outage, held.notify_at) == (5, "shadow", "share", (90, 100))
    degrade = await api.patch(f"/v1/limits/{made['id']}", {"when_reached": "degrade", "degrade_to": "small"})
    assert degrade["degrade_to"] == "small"
    assert (await limits_of(redis, "tenant", tenant))[0].degrade_to == "small"
    assert (await api.http.delete(f"/v1/limits/{made['id']}")).status_code == 204
    assert await limits_of(redis, "tenant", tenant) == ()
    assert (await api.get(f"/v1/limits/{made['id']}", 404))["code"] == "not_found"
    acts = (await api.get("/v1/audit/actions", target=made["id"]))["data"]
    assert sorted(act["action"] for act in acts) == ["limit.create", "limit.delete", "limit.update", "limit.update"]


async def test_every_level_has_limits_of_its_own(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    team = (await api.post("/v1/teams", {"tenant": tenant, "name": "t"}))["id"]
    user = (await api.post("/v1/users", {"tenant": tenant, "name": "u"}))["id"]
    key = await api.post("/v1/keys", {"tenant": tenant})
    made = {
        kind: await api.post("/v1/limits", {"subject": {kind: subject, "model": "llama"}, **TOKENS})
        for kind, subject in (("tenant", tenant), ("team", team), ("user", user), ("key", key["id"]))
    }
    assert {limit["subject"]["tenant"] for limit in made.values()} == {tenant}
    assert (await limits_of(redis, "team", team))[0].id == made["team"]["id"]
    assert (await limits_of(redis, "user", user))[0].model == "llama"
    assert (await record_of(redis, key["secret"])).limits[0].id == made["key"]["id"]

    async def found(**query: str) -> list[str]:
        return [row["id"] for row in (await api.get("/v1/limits", **query))["data"]]

    assert set(await found(tenant=tenant)) == {limit["id"] for limit in made.values()}
    assert await found(key=key["id"]) == [made["key"]["id"]]
    assert await found(team=team, model="llama", meter="total_tokens", window="minute") == [made["team"]["id"]]
    assert await found(user=user, model="other") == []


async def test_a_subject_has_one_limit_for_each_model_meter_and_window(api: Api) -> None:
    tenant = await api.tenant()
    body: dict[str, Any] = {"subject": {"tenant": tenant}, **TOKENS}
    made = await api.post("/v1/limits", body)
    problem = await api.post("/v1/limits", {**body, "amount": "1"}, 409)
    assert (problem["code"], problem["id"]) == ("limit_exists", made["id"])
    for other in ({"subject": {"tenant": tenant, "model": "*"}}, {"window": "day"}, {"meter": "input_tokens"}):
        await api.post("/v1/limits", body | other)
    await api.post("/v1/limits", {"subject": {"tenant": tenant}, "meter": "concurrency", "amount": "4"})


async def test_a_cost_is_a_decimal_and_reaches_proxies_in_millionths(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    body = {"subject": {"tenant": tenant}, "meter": "cost", "window": "month", "amount": "12.500001"}
    assert (await api.post("/v1/limits", body))["amount"] == "12.500001"
    assert (await limits_of(redis, "tenant", tenant))[0].amount == 12_500_001


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"meter": "tokens"}, "'requests'"),
        ({"window": "week"}, "'month'"),
        ({"window": None}, "window: give second"),
        ({"meter": "concurrency"}, "window: concurrency"),
        ({"amount": 10}, "decimal string"),
        ({"amount": "1.5"}, "whole number"),
        ({"amount": "-1"}, "0 or more"),
        ({"amount": "9000000000000001"}, "at most 9000000000000000"),
        ({"meter": "cost", "amount": "0.0000001"}, "6 digits"),
        ({"meter": "cost", "amount": "9000000001"}, "at most 9000000000"),
        ({"amount": "many"}, "decimal number"),
        ({"meter": "requests", "precision": "expected"}, "always strict"),
        ({"precision": "roughly"}, "'strict'"),
        ({"mode": "off"}, "'shadow'"),
        ({"on_outage": "panic"}, "'share'"),
        ({"notify_at": [0]}, "greater than or equal to 1"),
        ({"notify_at": [50, 50]}, "twice"),
        ({"notify_at": ["50"]}, "integer"),
        ({"when_reached": "degrade"}, "degrade_to"),
        ({"degrade_to": "small"}, "degrade_to"),
        ({"subject": {}}, "give a tenant"),
        ({"subject": {"team": "team_1", "key": "key_1"}}, "one of team, user and key"),
        ({"subject": {"tenant": "Search"}}, "such as ten_"),
        ({"subject": {"plan": "plan_1"}}, "no such field"),
        ({"limit": "1"}, "no such field"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words(api: Api, fields: dict[str, Any], says: str) -> None:
    body: dict[str, Any] = {"subject": {"tenant": "ten_1"}, **TOKENS, **fields}
    problem = await api.post("/v1/limits", body, 422)
    assert problem["code"] == "invalid_request"
    assert says in problem["detail"]
    assert "pattern" not in problem["detail"]


async def test_a_model_is_not_degraded_to_itself(api: Api) -> None:
    subject = {"tenant": await api.tenant(), "model": "big"}
    degrade = {"when_reached": "degrade", "degrade_to": "big"}
    assert "name another" in (await api.post("/v1/limits", {"subject": subject, **TOKENS, **degrade}, 422))["detail"]
    made = await api.post("/v1/limits", {"subject": subject, **TOKENS})
    for wrong, says in (
        (degrade, "name another"),
        ({"amount": "1.5"}, "whole number"),
        ({"amount": None}, "decimal string"),
        ({"window": "day"}, "no such field"),
        ({"degrade_to": "small"}, "degrade_to"),
    ):
        assert says in (await api.patch(f"/v1/limits/{made['id']}", wrong, 422))["detail"]
    assert await api.get(f"/v1/limits/{made['id']}") == made


async def test_whose_limit_it_would_be_must_exist_and_be_in_use(api: Api) -> None:
    tenant, other = await api.tenant(), await api.tenant()
    team = (await api.post("/v1/teams", {"tenant": tenant, "name": "t"}))["id"]
    key = (await api.post("/v1/keys", {"tenant": tenant}))["id"]
    for kind in ("tenant", "team", "user", "key"):
        problem = await api.post("/v1/limits", {"subject": {kind: "x_0"}, **TOKENS}, 422)
        assert problem["code"] == f"unknown_{kind}"
    wrong = await api.post("/v1/limits", {"subject": {"tenant": other, "team": team}, **TOKENS}, 422)
    assert wrong["code"] == "wrong_tenant"
    await api.http.delete(f"/v1/teams/{team}")
    await api.post(f"/v1/keys/{key}/revoke", status=200)
    assert (await api.post("/v1/limits", {"subject": {"team": team}, **TOKENS}, 409))["code"] == "team_deleted"
    assert (await api.post("/v1/limits", {"subject": {"key": key}, **TOKENS}, 409))["code"] == "key_revoked"


async def test_a_subject_has_a_bounded_number_of_limits(api: Api) -> None:
    tenant = await api.tenant()
    for number in range(64):
        await api.post("/v1/limits", {"subject": {"tenant": tenant, "model": f"m{number}"}, **TOKENS})
    assert (await api.post("/v1/limits", {"subject": {"tenant": tenant}, **TOKENS}, 422))["code"] == "too_many_limits"


async def test_a_rotated_key_keeps_its_limits_and_its_plan(api: Api, redis: Redis) -> None:
    plan = (await api.post("/v1/plans", {"name": "standard"}))["id"]
    key = await api.post("/v1/keys", {"tenant": await api.tenant(), "plan": plan})
    await api.post("/v1/limits", {"subject": {"key": key["id"], "model": "llama"}, **TOKENS, "mode": "shadow"})
    new = await api.post(f"/v1/keys/{key['id']}/rotate", {"overlap_seconds": 60})
    for secret in (key["secret"], new["secret"]):
        record = await record_of(redis, secret)
        assert record.plan == plan
        assert [(limit.model, limit.amount, limit.mode) for limit in record.limits] == [("llama", 10_000, "shadow")]


async def test_limits_come_back_with_a_rebuilt_projection(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    key = await api.post("/v1/keys", {"tenant": tenant})
    for subject in ({"tenant": tenant}, {"key": key["id"]}):
        await api.post("/v1/limits", {"subject": subject, **TOKENS})
    held = await limits_of(redis, "tenant", tenant)
    await redis.flushall()
    await api.services.projector.repair()
    assert await limits_of(redis, "tenant", tenant) == held
    (raw,) = [await redis.hget(name, "record") for name in await redis.keys("wb:key:*")]
    assert raw is not None
    assert key_decoder.decode(raw).limits[0].amount == 10_000


async def test_of_many_at_once_one_limit_is_made_and_nobody_is_held_up(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    limit = {"subject": {"tenant": tenant}, **TOKENS}
    requests = [
        request
        for number in range(8)
        for request in (
            api.http.post("/v1/limits", json=limit),
            api.http.post("/v1/keys", json={"tenant": tenant}),
            api.http.patch(f"/v1/tenants/{tenant}", json={"cost_center": str(number)}),
        )
    ]
    answers = [answer.status_code for answer in await asyncio.gather(*requests)]
    assert sorted(answers[0::3]) == [201, *[409] * 7]
    assert set(answers[1::3]) == {201}
    assert set(answers[2::3]) == {200}
    assert len(await limits_of(redis, "tenant", tenant)) == 1
