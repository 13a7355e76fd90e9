"""Usage: sums by bucket, group and filter, exact at any boundary, priced; the events behind them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.billing_api.conftest import Api
from tests.billing_api.ledger import TestLedger

DAY = datetime(2026, 11, 20, tzinfo=UTC)
WINDOW = {"from_": "2026-11-20T00:00:00Z", "to": "2026-11-21T00:00:00Z"}


def at(hour: int, minute: int = 0, second: float = 0) -> datetime:
    return DAY + timedelta(hours=hour, minutes=minute, seconds=second)


async def rows(api: Api, **query: Any) -> list[dict[str, Any]]:
    return list((await api.get("/v1/usage", **{**WINDOW, **query}))["data"])


async def book(api: Api, effective_from: str = "2026-01-01T00:00:00Z", price: str = "0.50", **fields: Any) -> str:
    body = {
        "name": "b",
        "currency": "EUR",
        "effective_from": effective_from,
        "prices": [
            {"model": "*", "meter": "input_tokens", "per": 1000, "price": price},
            {"model": "*", "meter": "output_tokens", "per": 1000, "price": "1.00"},
        ],
        **fields,
    }
    return str((await api.post("/v1/price-books", body))["id"])


async def test_a_window_without_bucket_is_one_row(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    ledger.use(at(1), tenant, input_tokens=10, output_tokens=5)
    ledger.use(at(23, 59, 59.999999), tenant, input_tokens=1, accuracy="estimated")
    ledger.use(at(24), tenant, input_tokens=100)
    ledger.use(at(0) - timedelta(microseconds=1), tenant, input_tokens=100)
    answer = await api.get("/v1/usage", **WINDOW, tenant=tenant)
    assert answer["data"] == [
        {
            "bucket_start": "2026-11-20T00:00:00Z",
            "bucket_end": "2026-11-21T00:00:00Z",
            "group": {},
            "requests": 2,
            "input_tokens": 11,
            "cache_read_input_tokens": None,
            "cache_creation_input_tokens": None,
            "output_tokens": 5,
            "reasoning_output_tokens": None,
            "estimated_requests": 1,
            "billed_cost": None,
            "currency": None,
        }
    ]
    assert (answer["as_of"], answer["complete_until"], answer["missing_events"]) == ("2026-11-21T12:00:00Z", None, 0)
    assert answer["next_cursor"] is None


async def test_a_window_that_begins_within_a_minute_is_exact(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    for second in (10, 20, 30, 40):
        ledger.use(at(1, 0, second), tenant, input_tokens=second)
        ledger.use(at(1, 5, second), tenant, input_tokens=second)
    ledger.use(at(1, 3), tenant, input_tokens=1000)
    query = {"from_": "2026-11-20T01:00:20Z", "to": "2026-11-20T01:05:30Z", "tenant": tenant}
    assert [row["input_tokens"] for row in await rows(api, **query)] == [20 + 30 + 40 + 1000 + 10 + 20]
    minutes = await rows(api, **query, bucket="minute")
    assert [(row["bucket_start"][14:19], row["bucket_end"][14:19], row["input_tokens"]) for row in minutes] == [
        ("00:20", "01:00", 90),
        ("03:00", "04:00", 1000),
        ("05:00", "05:30", 30),
    ]


async def test_days_are_those_of_the_tenant_also_when_clocks_change(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant(time_zone="Europe/Berlin")
    for hour in range(72):
        ledger.use(datetime(2026, 10, 24, 0, 30, tzinfo=UTC) + timedelta(hours=hour), tenant, input_tokens=1)
    query = {"from_": "2026-10-24T00:00:00Z", "to": "2026-10-27T00:00:00Z", "tenant": tenant, "bucket": "day"}
    days = [(row["bucket_start"], row["bucket_end"], row["requests"]) for row in await rows(api, **query)]
    assert days == [
        ("2026-10-24T00:00:00Z", "2026-10-24T22:00:00Z", 22),
        ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 25),
        ("2026-10-25T23:00:00Z", "2026-10-26T23:00:00Z", 24),
        ("2026-10-26T23:00:00Z", "2026-10-27T00:00:00Z", 1),
    ]
    utc = await rows(api, **query, time_zone="UTC")
    assert [row["requests"] for row in utc] == [24, 24, 24]


async def test_hours_months_and_odd_zones(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant(time_zone="Asia/Kolkata")
    ledger.use(at(1, 29), tenant)
    ledger.use(at(1, 31), tenant)
    hours = await rows(api, tenant=tenant, bucket="hour")
    assert [row["bucket_start"] for row in hours] == ["2026-11-20T00:30:00Z", "2026-11-20T01:30:00Z"]
    months = await rows(api, tenant=tenant, bucket="month", from_="2026-10-01T00:00:00Z")
    assert [(row["bucket_start"], row["bucket_end"]) for row in months] == [
        ("2026-10-31T18:30:00Z", "2026-11-21T00:00:00Z")
    ]


async def test_groups_and_filters(api: Api, ledger: TestLedger) -> None:
    one, two = await api.tenant(), await api.tenant()
    ledger.use(at(1), one, model="a", team="team_1", user="u", key="k", input_tokens=1)
    ledger.use(at(1), one, model="b", input_tokens=2, outcome="client_closed")
    ledger.use(at(1), two, model="a", input_tokens=4, instance="gpu-2")
    ledger.use(at(1), two, model=None, endpoint="/v1/score", input_tokens=8)
    ledger.use(at(1), one, model="a", input_tokens=1000, hop="prefill")

    async def by(*groups: str, **filters: Any) -> dict[Any, Any]:
        found = await rows(api, group_by=list(groups), **filters)
        return {tuple(row["group"].values()): row["input_tokens"] for row in found}

    assert await by("model") == {("a",): 5, ("b",): 2, (None,): 8}
    assert await by("tenant", tenant=[one, two]) == {(one,): 3, (two,): 12}
    assert await by("team", tenant=one) == {("team_1",): 1, (None,): 2}
    assert await by("user", "key", tenant=one) == {("u", "k"): 1, (None, None): 2}
    assert await by("outcome", "instance", "endpoint", model=["a", "b"]) == {
        ("completed", "gpu-1", "/v1/chat/completions"): 1,
        ("client_closed", "gpu-1", "/v1/chat/completions"): 2,
        ("completed", "gpu-2", "/v1/chat/completions"): 4,
    }
    assert await by(model="a", outcome="completed", instance="gpu-2") == {(): 4}
    assert await by("model", team="team_1") == {("a",): 1}
    assert await by("model", user="u", key="k", endpoint="/v1/chat/completions") == {("a",): 1}
    assert await by(tenant="ten_0") == {}
    assert [row["group"] for row in await rows(api, group_by="model,tenant", tenant=one)] == [
        {"model": "a", "tenant": one},
        {"model": "b", "tenant": one},
    ]


async def test_end_users_and_tags_are_read_from_the_events(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    ledger.use(at(1), tenant, input_tokens=1, end_user="ada", tags={"project": "search"})
    ledger.use(at(2), tenant, input_tokens=2, end_user="bob", tags={"project": "ads", "env": "prod"})
    ledger.use(at(3), tenant, input_tokens=4, accuracy="estimated")
    ledger.use(at(4), tenant, input_tokens=1000, hop="decode", end_user="ada")
    by_user = await rows(api, tenant=tenant, group_by="end_user")
    assert [(row["group"]["end_user"], row["input_tokens"]) for row in by_user] == [("ada", 1), ("bob", 2), (None, 4)]
    by_tag = await rows(api, tenant=tenant, group_by="tags.project")
    assert [(row["group"]["tags.project"], row["input_tokens"]) for row in by_tag] == [
        ("ads", 2),
        ("search", 1),
        (None, 4),
    ]
    assert by_tag[-1]["estimated_requests"] == 1
    assert [row["input_tokens"] for row in await rows(api, tenant=tenant, end_user="bob")] == [2]
    filtered = await rows(api, tenant=tenant, **{"tags.project": "search"})
    assert [row["input_tokens"] for row in filtered] == [1]
    assert await rows(api, tenant=tenant, **{"tags.project": "search", "tags.env": "prod"}) == []


async def test_pages_hold_every_row_once(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    for hour in range(3):
        for model in ("a", "b", None):
            ledger.use(at(hour), tenant, model=model, input_tokens=1)
    query: dict[str, Any] = {"tenant": tenant, "bucket": "hour", "group_by": "model"}
    whole = await rows(api, **query)
    assert len(whole) == 9
    seen: list[Any] = []
    for _ in range(9):
        page = await api.get("/v1/usage", **WINDOW, **query, limit=2)
        seen += page["data"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == whole


async def test_cost_follows_the_price_in_force_when_the_request_was_admitted(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    await book(api, price="0.50")
    await book(api, "2026-11-20T12:00:30Z", price="2.00")
    ledger.use(at(12, 0, 29), tenant, input_tokens=1000)
    ledger.use(at(12, 0, 30), tenant, input_tokens=1000)
    ledger.use(at(13), tenant, input_tokens=1, output_tokens=1)
    assert [(row["billed_cost"], row["currency"]) for row in await rows(api, tenant=tenant)] == [("2.503", "EUR")]
    hours = await rows(api, tenant=tenant, bucket="hour")
    assert [row["billed_cost"] for row in hours] == ["2.5", "0.003"]


async def test_a_tenants_own_book_replaces_the_general_one(api: Api, ledger: TestLedger) -> None:
    mine, other = await api.tenant(), await api.tenant()
    await book(api, price="1.00")
    await book(api, price="0.10", tenant=mine)
    for tenant in (mine, other):
        ledger.use(at(1), tenant, input_tokens=1000)
    found = await rows(api, group_by="tenant")
    assert {row["group"]["tenant"]: row["billed_cost"] for row in found} == {mine: "0.1", other: "1"}
    assert [row["billed_cost"] for row in await rows(api)] == ["1.1"]


async def test_cost_is_absent_where_a_price_is_missing_or_currencies_mix(api: Api, ledger: TestLedger) -> None:
    euros, dollars = await api.tenant(), await api.tenant(currency="USD")
    await book(api)
    await book(api, currency="USD")
    for tenant in (euros, dollars, "unassigned"):
        ledger.use(at(1), tenant, input_tokens=1000)
    ledger.use(at(2), euros, cache_read_input_tokens=5)
    ledger.use(at(3), euros)
    found = await rows(api, group_by="tenant", bucket="hour")
    costs = [(row["group"]["tenant"], row["billed_cost"], row["currency"]) for row in found]
    assert sorted(costs, key=str) == sorted(
        [
            (euros, "0.5", "EUR"),
            (dollars, "0.5", "USD"),
            ("unassigned", None, None),
            (euros, "0", "EUR"),
            (euros, "0", "EUR"),
        ],
        key=str,
    )
    assert [(row["billed_cost"], row["currency"]) for row in await rows(api, tenant=[euros, dollars])] == [(None, None)]


async def test_known_gaps_are_told(api: Api, ledger: TestLedger) -> None:
    ledger.gap(7)
    assert (await api.get("/v1/usage", **WINDOW))["missing_events"] == 7


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"from_": None}, "invalid_request"),
        ({"from_": "yesterday"}, "invalid_request"),
        ({"from_": "1700000000"}, "invalid_request"),
        ({"to": "2026-11-20T00:00:00Z"}, "invalid_window"),
        ({"to": None, "from_": "2027-01-01T00:00:00Z"}, "invalid_window"),
        ({"bucket": "week"}, "invalid_request"),
        ({"bucket": "minute", "from_": "2026-01-01T00:00:00Z"}, "too_many_buckets"),
        ({"time_zone": "Mars/Olympus"}, "invalid_request"),
        ({"group_by": "colour"}, "invalid_request"),
        ({"group_by": "model,model"}, "invalid_request"),
        ({"group_by": "tags.it's"}, "invalid_request"),
        ({"tags.it's": "x"}, "invalid_request"),
        ({"colour": "red"}, "invalid_request"),
        ({"cursor": "WzFd"}, None),
        ({"cursor": "WyJhIl0"}, "invalid_cursor"),
        ({"cursor": "WzEsMSwiYSJd"}, "invalid_cursor"),
    ],
)
async def test_bad_questions_are_refused(api: Api, ledger: TestLedger, query: dict[str, Any], code: str | None) -> None:
    asked = {name: value for name, value in {**WINDOW, **query}.items() if value is not None}
    answer = await api.get("/v1/usage", 422 if code else 200, **asked)
    assert answer.get("code") == code


async def test_odd_characters_in_filters_match_nothing_and_break_nothing(api: Api, ledger: TestLedger) -> None:
    ledger.use(at(1), await api.tenant(), model="it's \\ {x:String} ☃", input_tokens=1)
    assert [row["input_tokens"] for row in await rows(api, model="it's \\ {x:String} ☃")] == [1]
    for odd in ("'", "\\", "' OR 1=1 --", "{start:Int64}", "☃"):
        assert await rows(api, model=odd) == []


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/usage/events", "/v1/audit/requests"])
async def test_without_clickhouse_the_answer_says_so(api: Api, path: str) -> None:
    response = await api.http.get(path, params={"from": "2026-11-20T00:00:00Z"})
    assert (response.status_code, response.json()["code"]) == (503, "usage_unavailable")
    assert response.headers["retry-after"] == "1"
    assert (await api.get("/v1/usage/events/req_1", 503))["code"] == "usage_unavailable"


async def test_the_events_behind_a_figure(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    made = [ledger.use(at(1, minute), tenant, input_tokens=minute, tags={"a": "b"}) for minute in range(5)]
    ledger.use(at(1), await api.tenant())
    query: dict[str, Any] = {**WINDOW, "tenant": tenant, "limit": 2}
    seen: list[dict[str, Any]] = []
    for _ in range(4):
        page = await api.get("/v1/usage/events", **query)
        seen += page["data"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert [event["request_id"] for event in seen] == made[::-1]
    newest = seen[0]
    assert (newest["input_tokens"], newest["output_tokens"], newest["tags"]) == (4, None, {"a": "b"})
    assert (newest["event_time"], newest["admitted_at"]) == ("2026-11-20T01:04:00Z", "2026-11-20T01:04:00Z")
    assert await api.get(f"/v1/usage/events/{made[-1]}") == newest
    assert (await api.get("/v1/usage/events/req_0", 404))["code"] == "not_found"
    assert (await api.get("/v1/usage/events", **WINDOW, **{"tags.a": "b"}))["data"] == seen
    assert (await api.get("/v1/usage/events", **WINDOW, **{"tags.a": "c"}))["data"] == []
    assert (await api.get("/v1/usage/events", 422, **WINDOW, cursor="WzFd"))["code"] == "invalid_cursor"


async def test_requests_are_searched(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    ledger.ask(at(1), tenant, user="u", client_address="10.0.0.1")
    denied = ledger.ask(at(2), tenant, decision="denied", status=429, code="rate_limit_exceeded", model="a")
    unknown = ledger.ask(at(3), "unassigned", decision="denied", status=401, code="invalid_api_key", admitted_at=None)

    async def found(**filters: Any) -> list[str]:
        return [row["request_id"] for row in (await api.get("/v1/audit/requests", **WINDOW, **filters))["data"]]

    assert len(await found()) == 3
    assert await found(decision="denied") == [unknown, denied]
    assert await found(status=429) == [denied]
    assert await found(status=[429, 401], tenant=tenant) == [denied]
    assert await found(code="invalid_api_key") == [unknown]
    assert await found(client_address="10.0.0.1", user="u") != []
    assert await found(model="a") == [denied]
    assert await found(request_id=unknown) == [unknown]
    assert len(await found(limit=1)) == 1
    assert await found(decision=["denied", "admitted"]) != []
    for bad in ({"status": "teapot"}, {"status": 99}, {"colour": "red"}, {"decision": "refused"}):
        assert (await api.get("/v1/audit/requests", 422, **WINDOW, **bad))["code"] == "invalid_request"


async def test_an_admitted_request_shows_how_it_was_answered(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    answered = ledger.ask(at(1), tenant, request_id="req_answered")
    ledger.use(at(1), tenant, request_id="req_answered", status=200)
    running = ledger.ask(at(2), tenant)
    denied = ledger.ask(at(3), tenant, decision="denied", status=429, code="rate_limit_exceeded")

    async def statuses(**filters: Any) -> dict[str, int | None]:
        rows = (await api.get("/v1/audit/requests", **WINDOW, **filters))["data"]
        return {row["request_id"]: row["status"] for row in rows}

    assert await statuses() == {denied: 429, running: None, "req_answered": 200}
    assert await statuses(status=200) == {"req_answered": 200}
    assert await statuses(status=[200, 429]) == {denied: 429, "req_answered": 200}
    assert answered == "req_answered"


async def test_clickhouse_coming_back_is_used_again(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    ledger.use(at(1), tenant, input_tokens=3)
    assert len(await rows(api, tenant=tenant)) == 1
    ledger.server.kill()
    try:
        assert (await api.get("/v1/usage", 503, **WINDOW))["code"] == "usage_unavailable"
    finally:
        ledger.server.start()
    assert [row["input_tokens"] for row in await rows(api, tenant=tenant)] == [3]
