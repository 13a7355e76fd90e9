"""Tenants, teams and users: created, changed, suspended, deleted, listed; bad input refused."""

from typing import Any

import pytest

from tests.billing_api.conftest import Api


async def test_a_tenant_is_created_with_defaults_and_found_again(api: Api) -> None:
    made = await api.post("/v1/tenants", {"name": "Search"})
    assert made["id"].startswith("ten_")
    assert (made["status"], made["time_zone"], made["currency"], made["tags"]) == ("active", "UTC", "EUR", {})
    assert made["cost_center"] is None
    assert made["created_at"] == "2026-11-21T12:00:00Z"
    assert await api.get(f"/v1/tenants/{made['id']}") == made
    assert await api.get("/v1/tenants") == {"data": [made], "next_cursor": None}


async def test_a_change_touches_only_the_fields_it_names(api: Api) -> None:
    tenant = await api.tenant(cost_center="K1", time_zone="Europe/Berlin")
    changed = await api.patch(f"/v1/tenants/{tenant}", {"status": "suspended", "tags": {"env": "prod"}})
    assert (changed["status"], changed["tags"], changed["cost_center"]) == ("suspended", {"env": "prod"}, "K1")
    assert (await api.patch(f"/v1/tenants/{tenant}", {"cost_center": None}))["cost_center"] is None
    assert (await api.get(f"/v1/tenants/{tenant}"))["time_zone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": 7},
        {"name": "x" * 201},
        {"name": "a\x00b"},
        {"name": "ok", "time_zone": "Mars/Olympus"},
        {"name": "ok", "time_zone": "../etc/passwd"},
        {"name": "ok", "currency": "EURO"},
        {"name": "ok", "currency": "XXX"},
        {"name": "ok", "tags": {"a b": "c"}},
        {"name": "ok", "tags": {f"t{number}": "v" for number in range(17)}},
        {"name": "ok", "tags": {"a": 1}},
        {"name": "ok", "planet": "Earth"},
        [],
        "text",
        None,
    ],
)
async def test_bad_tenants_are_refused(api: Api, body: Any) -> None:
    problem = await api.post("/v1/tenants", body, 422)
    assert problem["code"] == "invalid_request"
    assert (await api.get("/v1/tenants"))["data"] == []


@pytest.mark.parametrize(
    "content", ["{", "[" * 100_000, '{"name": "\\ud800"}', '{"name": "ok", "\\ud800": NaN}', '{"name": 1e999', ""]
)
async def test_what_is_not_json_is_refused(api: Api, content: str) -> None:
    response = await api.http.post("/v1/tenants", content=content, headers={"content-type": "application/json"})
    assert response.status_code in {400, 422}
    assert response.json()["code"] in {"invalid_json", "invalid_request"}


async def test_a_huge_body_is_refused(api: Api) -> None:
    assert (await api.post("/v1/tenants", {"name": "x" * 5_000_000}, 413))["code"] == "request_too_large"


async def test_null_does_not_clear_what_must_be_there(api: Api) -> None:
    tenant = await api.tenant()
    for name in ("name", "status", "tags", "time_zone", "record_prompts"):
        assert (await api.patch(f"/v1/tenants/{tenant}", {name: None}, 422))["code"] == "invalid_request"
    assert (await api.patch(f"/v1/tenants/{tenant}", {"currency": "USD"}, 422))["code"] == "invalid_request"


async def test_prompts_are_recorded_for_who_asks_for_it_alone(api: Api) -> None:
    tenant = await api.tenant()
    assert (await api.get(f"/v1/tenants/{tenant}"))["record_prompts"] is False
    assert (await api.patch(f"/v1/tenants/{tenant}", {"record_prompts": True}))["record_prompts"] is True
    other = await api.tenant(name="Ads", record_prompts=True)
    assert (await api.get(f"/v1/tenants/{other}"))["record_prompts"] is True


async def test_teams_and_users_belong_to_one_tenant(api: Api) -> None:
    mine, other = await api.tenant(), await api.tenant(name="Ads")
    team = await api.post("/v1/teams", {"tenant": mine, "name": "Ranking"})
    user = await api.post("/v1/users", {"tenant": mine, "team": team["id"], "name": "Ada"})
    assert (user["team"], user["tenant"]) == (team["id"], mine)
    foreign = await api.post("/v1/users", {"tenant": other, "team": team["id"], "name": "Eve"}, 422)
    assert foreign["code"] == "wrong_tenant"
    elsewhere = (await api.post("/v1/teams", {"tenant": other, "name": "Bids"}))["id"]
    assert (await api.patch(f"/v1/users/{user['id']}", {"team": elsewhere}, 422))["code"] == "wrong_tenant"
    assert (await api.patch(f"/v1/users/{user['id']}", {"team": None}))["team"] is None
    assert (await api.patch(f"/v1/teams/{team['id']}", {"name": "Rank"}))["name"] == "Rank"
    assert (await api.get("/v1/users", tenant=mine))["data"][0]["id"] == user["id"]
    assert (await api.get("/v1/users", tenant=other))["data"] == []
    assert len((await api.get("/v1/teams", tenant=other))["data"]) == 1
    assert (await api.get(f"/v1/teams/{team['id']}"))["name"] == "Rank"
    assert (await api.get(f"/v1/users/{user['id']}"))["name"] == "Ada"


async def test_unknown_owners_are_refused(api: Api) -> None:
    tenant = await api.tenant()
    assert (await api.post("/v1/teams", {"tenant": "ten_0", "name": "x"}, 422))["code"] == "unknown_tenant"
    body = {"tenant": tenant, "team": "team_0", "name": "x"}
    assert (await api.post("/v1/users", body, 422))["code"] == "unknown_team"


@pytest.mark.parametrize("kind", ["tenants", "teams", "users"])
async def test_the_deleted_stay_for_the_books_and_cannot_be_used(api: Api, kind: str) -> None:
    tenant = await api.tenant()
    body = {"name": "x"} if kind == "tenants" else {"name": "x", "tenant": tenant}
    made = (await api.post(f"/v1/{kind}", body))["id"]
    for _ in range(2):
        api.clock.forward(seconds=1)
        assert (await api.http.delete(f"/v1/{kind}/{made}")).status_code == 204
    assert (await api.get(f"/v1/{kind}/{made}"))["status"] == "deleted"
    assert made not in [row["id"] for row in (await api.get(f"/v1/{kind}"))["data"]]
    assert [row["id"] for row in (await api.get(f"/v1/{kind}", status="deleted"))["data"]] == [made]
    assert (await api.patch(f"/v1/{kind}/{made}", {"name": "y"}, 409))["code"].endswith("_deleted")
    actions = [act["action"] for act in (await api.get("/v1/audit/actions", target=made))["data"]]
    assert actions == [f"{kind[:-1]}.delete", f"{kind[:-1]}.create"]


@pytest.mark.parametrize("kind", ["tenants", "teams", "users", "keys"])
async def test_unknown_ids_are_not_found(api: Api, kind: str) -> None:
    assert (await api.get(f"/v1/{kind}/nope_0", 404))["code"] == "not_found"
    assert (await api.patch(f"/v1/{kind}/nope_0", {"name": "x"}, 404))["code"] == "not_found"
    if kind != "keys":
        assert (await api.http.delete(f"/v1/{kind}/nope_0")).status_code == 404


async def test_an_external_id_is_unique_in_its_tenant(api: Api) -> None:
    tenant = await api.tenant(external_id="crm-1")
    assert (await api.post("/v1/tenants", {"name": "b", "external_id": "crm-1"}, 409))["code"] == "conflict"
    other = await api.tenant()
    for owner in (tenant, other):
        await api.post("/v1/teams", {"tenant": owner, "name": "t", "external_id": "t-1"})
    assert (await api.get("/v1/tenants", external_id="crm-1"))["data"][0]["id"] == tenant


async def test_lists_are_paged_without_losing_or_repeating_a_row(api: Api) -> None:
    made = set()
    for number in range(7):
        api.clock.forward(seconds=1)
        made.add(await api.tenant(name=f"t{number}"))
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = await api.get("/v1/tenants", **query)
        seen += [row["id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert len(seen) == 7
    assert set(seen) == made


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"cursor": "nonsense!"}, "invalid_cursor"),
        ({"cursor": "WzEsMl0"}, "invalid_cursor"),
        ({"limit": 0}, "invalid_request"),
        ({"limit": 1001}, "invalid_request"),
        ({"limit": "many"}, "invalid_request"),
        ({"tenent": "ten_0"}, "invalid_request"),
        ({"status": "gone"}, "invalid_request"),
    ],
)
async def test_bad_list_queries_are_refused(api: Api, query: dict[str, Any], code: str) -> None:
    assert (await api.get("/v1/users", 422, **query))["code"] == code
