"""`GET /weighbridge/v1/me`: where a client stands."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import redis

from contracts import redis_keys
from proxy import me
from proxy.day_totals import RedisDayTotals
from proxy.key_changes import connect
from proxy.ports import DayTotals, Principal, Refusal, Standing
from tests.proxy import parts
from tests.proxy.fakes import KEY, KEY_RECORD, MemoryLimits, MemoryTotals, held, holding
from tests.proxy.memory import Response, get, post
from tests.proxy.serving import CHAT, Proxy, proxy, unary
from tests.proxy.slow.h2client import client

ME = "/weighbridge/v1/me"
NOW = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
TOTALS = DayTotals(12, 340, 56)


def described(who: Principal, *standings: Standing, totals: DayTotals | None = TOTALS) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(me.describe(who, standings, totals, NOW))
    return found


def test_all_that_is_known() -> None:
    team = held("total_tokens", 10_000, of=("team", "team_a"), model="tiny")
    cost = held("cost", 12_500_000, "month", precision="expected", mode="shadow")
    key = msgspec.structs.replace(KEY_RECORD, models=("tiny", "big"), expires_at=NOW)
    who = Principal(
        key, {"project": "search"}, (team, cost), "Europe/Berlin", (frozenset({"tiny", "x"}),), 900, "batch"
    )
    found = described(
        who, Standing(team, 400, NOW + timedelta(seconds=9)), Standing(cost, 2_500_000, NOW + timedelta(days=9))
    )
    assert found == {
        "key": "key_1",
        "tenant": "ten_search",
        "team": "team_a",
        "user": "user_b",
        "tags": {"project": "search"},
        "time_zone": "Europe/Berlin",
        "expires_at": "2026-11-21T23:30:00Z",
        "models": ["tiny"],
        "endpoints": None,
        "addresses": None,
        "max_tokens": 900,
        "priority": "batch",
        "limits": [
            {
                "id": "lim_total_tokens",
                "subject": {"team": "team_a", "model": "tiny"},
                "meter": "total_tokens",
                "window": "minute",
                "amount": 10_000,
                "used": 9_600,
                "remaining": 400,
                "renews_at": "2026-11-21T23:30:09Z",
                "precision": "strict",
                "mode": "enforce",
                "when_reached": "block",
            },
            {
                "id": "lim_cost",
                "subject": {"tenant": "ten_search", "model": None},
                "meter": "cost",
                "window": "month",
                "amount": "12.5",
                "used": "10",
                "remaining": "2.5",
                "renews_at": "2026-11-30T23:30:00Z",
                "precision": "expected",
                "mode": "shadow",
                "when_reached": "block",
            },
        ],
        "usage": {
            "of": "tenant",
            "day": "2026-11-22",
            "requests": 12,
            "input_tokens": 340,
            "output_tokens": 56,
            "cost": None,
        },
        "as_of": "2026-11-21T23:30:00Z",
    }


def test_what_is_not_known_is_null_and_never_zero() -> None:
    limit = held("requests", 9)
    found = described(holding(limit), totals=None)
    (one,) = found["limits"]
    assert (one["amount"], one["used"], one["remaining"], one["renews_at"]) == (9, None, None, None)
    assert set(found["usage"].values()) == {"tenant", "2026-11-21", None}
    assert found["models"] is None
    debt = described(holding(limit), Standing(limit, -4, NOW))["limits"][0]
    assert (debt["used"], debt["remaining"]) == (9, 0)


async def ask(it: Proxy, lane: str, key: bytes | None = KEY) -> Response:
    if lane == "http/1.1":
        return await it.ask(get(ME, key=key))
    async with client(it.traffic.port) as h2:
        stream = await h2.answer(h2.ask(ME.encode(), method=b"GET", key=key))
        return Response(stream.status, list(stream.fields.items()), stream.body, True)


@pytest.mark.parametrize("lane", ["http/1.1", "http/2"])
async def test_it_is_answered_by_us_and_not_metered(lane: str) -> None:
    fake, limit = MemoryLimits(), held("requests", 9)
    async with proxy(unary, limits=fake, totals=MemoryTotals(TOTALS)) as it:
        it.directory.known[KEY] = holding(limit)
        assert (await it.ask(post(CHAT, b'{"model":"tiny"}'))).status == 200
        await it.settled()
        answer = await ask(it, lane)
        assert (answer.status, answer.header("content-type")) == (200, "application/json")
        assert answer.header("x-request-id")
        found = msgspec.json.decode(answer.body)
        assert (found["limits"][0]["remaining"], found["usage"]["requests"]) == (8, 12)
        assert len(it.raw.got) == 1, "vLLM saw the chat alone"
        assert (len(it.recorder.decisions), len(it.recorder.closes), len(fake.demands)) == (1, 1, 1)
        assert it.traffic.in_flight == 0


async def test_who_may_ask() -> None:
    async with proxy(unary, limits=MemoryLimits()) as it:
        narrow = msgspec.structs.replace(KEY_RECORD, models=("big",), endpoints=("/v1/embeddings",))
        it.directory.known[KEY] = Principal(narrow, {})
        assert (await it.ask(get(ME))).status == 200, "whatever else the key is for"
        for token, refusal, status in (
            (b"unknown", Refusal("invalid_api_key", "No."), 401),
            (b"closed", Refusal("tenant_suspended", "No.", Principal(KEY_RECORD, {})), 403),
        ):
            it.directory.known[token] = refusal
            assert (await it.ask(get(ME, key=token))).status == status
        assert (await it.ask(get(ME, key=None))).status == 401
        far = msgspec.structs.replace(KEY_RECORD, addresses=("10.0.0.0/8",))
        it.directory.known[KEY] = Principal(far, {})
        assert (await it.ask(get(ME))).status == 403
        assert (await it.ask(post(ME, b"{}"))).status == 405
        preflight = get(ME, b"Origin: https://x", b"Access-Control-Request-Method: GET").replace(
            b"GET ", b"OPTIONS ", 1
        )
        assert (await it.ask(preflight)).status == 405, "vLLM never hears of it"
        assert not it.raw.got


@pytest.mark.parametrize("enforce", ["off", "shadow"])
async def test_nobody_is_told_about_nobody(enforce: str) -> None:
    async with proxy(unary, enforce=enforce) as it:
        assert (await it.ask(get(ME, key=None))).status == 401
        assert (await it.ask(get(ME))).status == 200
        assert not it.raw.got


async def test_what_the_ledger_holds_is_read_from_redis(tmp_path: Any) -> None:
    who = holding(time_zone="Pacific/Auckland")
    with parts.redis(tmp_path) as server:
        there, asking = redis.Redis.from_url(server.address), connect(server.address)
        try:
            totals = RedisDayTotals(asking)
            assert await totals.day(who, NOW) is None
            place = redis_keys.day_usage("ten_search", datetime(2026, 11, 22, tzinfo=UTC).date())
            there.hset(place, mapping={"generation": 3, "requests": 12, "input_tokens": 340, "output_tokens": 56})
            assert await totals.day(who, NOW) == TOTALS
            assert await totals.day(holding(), NOW) is None, "in UTC it is another day"
            server.kill()
            assert await totals.day(who, NOW) is None
        finally:
            there.close()
            await asking.aclose()
