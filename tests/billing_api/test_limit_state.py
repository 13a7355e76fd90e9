"""How a limit stands, as the API tells it: counted by a proxy's limits on the same Redis."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from contracts.clock import utc_now
from contracts.limits import Held, LimitRecord
from contracts.projection import KeyRecord
from proxy.limits.limiter import RedisLimits
from proxy.limits.store import RedisStore
from proxy.ports import Amounts, Demand, Denial, Grant, Principal
from tests.billing_api.conftest import Api, FakeClock

LEASE = 0.5


async def use(redis: Redis, tenant: str, record: LimitRecord, reserved: int, used: int) -> None:
    """Take and settle one request, as a proxy does, and keep what is left of its slice."""
    place = redis.connection_pool.connection_kwargs
    store = RedisStore(f"redis://{place['host']}:{place['port']}")
    limits = RedisLimits(store, "a proxy", lease=LEASE)
    who = Principal(KeyRecord(id="key_1", tenant=tenant, revision=1), {}, limits=(Held("tenant", tenant, record),))
    amounts = Amounts(reserved, 0, reserved)
    async with asyncio.timeout(60):
        while True:  # a Redis that has just begun waits for leases of an earlier one
            grant: Any = await limits.wait(Demand("req_1", who, "llama", amounts, amounts), utc_now())
            if isinstance(grant, Grant):
                break
            assert isinstance(grant, Denial)
            assert grant.held is None
            await asyncio.sleep(0.1)
            await limits.upkeep.look()
    limits.settle(grant, Amounts(used, 0, used), utc_now(), 1)
    await limits.close()
    await store.close()


async def test_what_was_used_is_told_and_what_is_left(api: Api, redis: Redis, clock: FakeClock) -> None:
    tenant = await api.tenant()
    made = await api.post(
        "/v1/limits", {"subject": {"tenant": tenant}, "meter": "input_tokens", "window": "hour", "amount": "1000"}
    )
    path = f"/v1/limits/{made['id']}/state"
    fresh = await api.get(path)
    assert (fresh["used"], fresh["reserved"], fresh["remaining"], fresh["resets_at"]) == ("0", "0", "1000", None)
    await use(redis, tenant, LimitRecord(id=made["id"], meter="input_tokens", window="hour", amount=1000), 100, 30)
    clock.forward(seconds=(utc_now() - clock()).total_seconds())
    state = await api.get(path)
    assert (state["id"], state["amount"], state["used"], state["remaining"]) == (made["id"], "1000", "30", "970")
    assert state["resets_at"] > state["as_of"]
    clock.forward(hours=2)
    assert (await api.get(path))["used"] == "0"


async def test_a_day_counts_what_the_ledger_has_not_told_yet_in_units_of_money(
    api: Api, redis: Redis, clock: FakeClock
) -> None:
    tenant = await api.tenant(time_zone="UTC")
    clock.forward(seconds=(utc_now() - clock()).total_seconds())
    body = {"subject": {"tenant": tenant}, "meter": "cost", "window": "month", "amount": "2.5", "precision": "expected"}
    made = await api.post("/v1/limits", body)
    record = LimitRecord(id=made["id"], meter="cost", window="month", amount=2_500_000, precision="expected")
    await use(redis, tenant, record, 400_000, 250_000)
    state = await api.get(f"/v1/limits/{made['id']}/state")
    assert (state["used"], state["remaining"]) == ("0.25", "2.25")


async def test_limits_of_plans_have_no_state_and_unknown_ones_are_not_found(api: Api) -> None:
    terms = {"meter": "requests", "window": "minute", "amount": "5"}
    plan = await api.post("/v1/plans", {"name": "small", "limits": [terms]})
    (limit,) = (await api.get("/v1/limits", plan=plan["id"]))["data"]
    assert (await api.get(f"/v1/limits/{limit['id']}/state", 409))["code"] == "limit_of_plan"
    assert (await api.get("/v1/limits/lim_nothing/state", 404))["code"] == "not_found"
