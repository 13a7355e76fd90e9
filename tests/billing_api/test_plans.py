"""Plans: created, changed, ended; who has them; in Redis when the answer comes, and again after Redis lost all."""

from typing import Any

import pytest
from redis.asyncio import Redis

from contracts import redis_keys
from contracts.limits import PlanRecord
from contracts.projection import plan_decoder, subject_decoder
from tests.billing_api.conftest import Api
from tests.billing_api.test_keys import record_of
from tests.billing_api.test_projection import changes

MINUTE = {"meter": "total_tokens", "window": "minute", "amount": "10000"}
SECOND = {"meter": "requests", "window": "second", "amount": "10", "model": "llama"}


async def plan_record(redis: Redis, plan: str) -> PlanRecord:
    raw: Any = await redis.hget(redis_keys.plan_record(plan), "record")
    return plan_decoder.decode(raw)


async def test_a_plan_is_created_with_its_limits_and_projected(api: Api, redis: Redis) -> None:
    body = {"name": "standard", "limits": [MINUTE, SECOND], "models": ["llama"], "priority": "batch", "weight": 300}
    made = await api.post("/v1/plans", {**body, "max_tokens": 4096})
    assert made["id"].startswith("plan_")
    assert (made["status"], made["models"], made["max_tokens"]) == ("active", ["llama"], 4096)
    assert [(limit["model"], limit["amount"]) for limit in made["limits"]] == [("llama", "10"), (None, "10000")]
    assert await api.get(f"/v1/plans/{made['id']}") == made
    assert (await api.get("/v1/plans", name="standard"))["data"] == [made]
    record = await plan_record(redis, made["id"])
    assert (record.models, record.priority, record.weight, record.max_tokens) == (("llama",), "batch", 300, 4096)
    assert [(limit.id, limit.amount) for limit in record.limits] == [
        (made["limits"][0]["id"], 10),
        (made["limits"][1]["id"], 10_000),
    ]
    assert await changes(redis) == [("plan", made["id"])]


async def test_a_change_replaces_limits_and_those_that_stay_keep_their_ids(api: Api, redis: Redis) -> None:
    made = await api.post("/v1/plans", {"name": "standard", "limits": [MINUTE, SECOND], "weight": 7})
    changed = await api.patch(f"/v1/plans/{made['id']}", {"limits": [{**SECOND, "amount": "11"}]})
    assert [(limit["id"], limit["amount"]) for limit in changed["limits"]] == [(made["limits"][0]["id"], "11")]
    assert changed["weight"] == 7
    record = await plan_record(redis, made["id"])
    assert [limit.amount for limit in record.limits] == [11]
    assert (await api.patch(f"/v1/plans/{made['id']}", {"max_tokens": 9, "name": "Standard"}))["max_tokens"] == 9
    assert (await api.patch(f"/v1/plans/{made['id']}", {"max_tokens": None}))["max_tokens"] is None
    assert (await plan_record(redis, made["id"])).max_tokens is None
    assert len((await api.get(f"/v1/plans/{made['id']}"))["limits"]) == 1


async def test_tenants_teams_users_and_keys_have_plans(api: Api, redis: Redis) -> None:
    plan = (await api.post("/v1/plans", {"name": "standard"}))["id"]
    tenant = await api.tenant(plan=plan)
    team = (await api.post("/v1/teams", {"tenant": tenant, "name": "t", "plan": plan}))["id"]
    user = (await api.post("/v1/users", {"tenant": tenant, "name": "u"}))["id"]
    key = await api.post("/v1/keys", {"tenant": tenant})
    assert (await api.patch(f"/v1/users/{user}", {"plan": plan}))["plan"] == plan
    assert (await api.patch(f"/v1/keys/{key['id']}", {"plan": plan}))["plan"] == plan
    subjects: tuple[tuple[redis_keys.SubjectKind, str], ...] = (("tenant", tenant), ("team", team), ("user", user))
    for kind, subject in subjects:
        raw = await redis.hget(redis_keys.subject_record(kind, subject), "record")
        assert raw is not None
        assert subject_decoder.decode(raw).plan == plan
    assert (await record_of(redis, key["secret"])).plan == plan
    assert (await api.get("/v1/teams", plan=plan))["data"][0]["id"] == team
    assert (await api.patch(f"/v1/tenants/{tenant}", {"plan": None}))["plan"] is None
    for path in (f"/v1/tenants/{tenant}", f"/v1/keys/{key['id']}"):
        assert (await api.patch(path, {"plan": "plan_0"}, 422))["code"] == "unknown_plan"
    assert (await api.post("/v1/tenants", {"name": "x", "plan": "plan_0"}, 422))["code"] == "unknown_plan"


async def test_a_plan_ends_when_nobody_has_it(api: Api, redis: Redis) -> None:
    plan = (await api.post("/v1/plans", {"name": "standard", "limits": [MINUTE]}))["id"]
    tenant = await api.tenant(plan=plan)
    key = (await api.post("/v1/keys", {"tenant": tenant, "plan": plan}))["id"]
    response = await api.http.delete(f"/v1/plans/{plan}")
    assert (response.status_code, response.json()["code"], response.json()["count"]) == (409, "plan_in_use", 2)
    other = await api.tenant()
    await api.post("/v1/teams", {"tenant": other, "name": "t", "plan": plan})
    await api.http.delete(f"/v1/tenants/{other}")  # and with it whatever it has
    await api.patch(f"/v1/tenants/{tenant}", {"plan": None})
    await api.post(f"/v1/keys/{key}/revoke", status=200)
    for _ in range(2):
        assert (await api.http.delete(f"/v1/plans/{plan}")).status_code == 204
    assert (await api.get(f"/v1/plans/{plan}"))["status"] == "deleted"
    assert (await api.get("/v1/plans"))["data"] == []
    assert (await api.get("/v1/plans", status="deleted"))["data"][0]["id"] == plan
    assert (await plan_record(redis, plan)).limits == ()
    assert (await api.patch(f"/v1/plans/{plan}", {"name": "x"}, 409))["code"] == "plan_deleted"
    assert (await api.patch(f"/v1/tenants/{tenant}", {"plan": plan}, 409))["code"] == "plan_deleted"
    assert (await api.post("/v1/plans", {"name": "standard"}))["id"] != plan
    acts = [act["action"] for act in (await api.get("/v1/audit/actions", target=plan))["data"]]
    assert sorted(acts) == ["plan.create", "plan.delete"]


async def test_names_are_unique(api: Api) -> None:
    first = await api.post("/v1/plans", {"name": "a"})
    second = await api.post("/v1/plans", {"name": "b"})
    assert (await api.post("/v1/plans", {"name": "a"}, 409))["id"] == first["id"]
    assert (await api.patch(f"/v1/plans/{second['id']}", {"name": "a"}, 409))["code"] == "plan_exists"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": ""}, "at least 1 character"),
        ({"limits": [MINUTE, {**MINUTE, "amount": "1"}]}, "same model, meter and window"),
        ({"limits": [{**MINUTE, "amount": "1.5"}]}, "limits.0: amount: give a whole number"),
        ({"limits": [{**MINUTE, "subject": {}}]}, "no such field"),
        ({"weight": 0}, "greater than or equal to 1"),
        ({"priority": "urgent"}, "'interactive'"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"models": [""]}, "at least 1 character"),
    ],
)
async def test_bad_plans_are_refused_in_words(api: Api, fields: dict[str, Any], says: str) -> None:
    problem = await api.post("/v1/plans", {"name": "standard", **fields}, 422)
    assert problem["code"] == "invalid_request"
    assert says in problem["detail"]


async def test_limits_of_plans_are_changed_with_the_plan(api: Api) -> None:
    plan = await api.post("/v1/plans", {"name": "standard", "limits": [MINUTE]})
    limit = plan["limits"][0]["id"]
    shown = await api.get(f"/v1/limits/{limit}")
    assert (shown["plan"], shown["subject"]["tenant"]) == (plan["id"], None)
    assert (await api.get("/v1/limits"))["data"] == []
    assert (await api.get("/v1/limits", plan=plan["id"]))["data"] == [shown]
    assert (await api.patch(f"/v1/limits/{limit}", {"amount": "1"}, 409))["code"] == "limit_of_plan"
    assert (await api.http.delete(f"/v1/limits/{limit}")).json()["code"] == "limit_of_plan"


async def test_plans_come_back_with_a_rebuilt_projection(api: Api, redis: Redis) -> None:
    plan = (await api.post("/v1/plans", {"name": "standard", "limits": [MINUTE]}))["id"]
    before = await plan_record(redis, plan)
    await redis.flushall()
    await api.services.projector.repair()
    assert await plan_record(redis, plan) == before
