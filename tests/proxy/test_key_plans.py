"""What a key is held to: its own limits, those of whom it belongs to, and those of all their plans."""

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import utc_now
from contracts.limits import LimitRecord, PlanRecord
from contracts.projection import KeyRecord, SubjectRecord
from proxy import key_directory
from proxy.identity import UNAVAILABLE, Identity, judge
from proxy.key_memory import load
from proxy.ports import Principal
from tests.proxy import parts
from tests.proxy.directories import NOW, TOKEN, Api, directory_at, until

MINUTE = LimitRecord(id="lim_minute", meter="total_tokens", window="minute", amount=10_000)
DAY = LimitRecord(id="lim_day", meter="requests", window="day", amount=500)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(key_directory, "PATIENCE", 0.0)


@pytest.fixture
def server(tmp_path):
    with parts.redis(tmp_path) as running:
        yield running


@pytest.fixture
def api(server):
    made = Api(server.address)
    made.plan("plan_a", limits=(MINUTE, DAY), models=("tiny", "big"), max_tokens=100, weight=300)
    made.plan("plan_b", models=("tiny",), max_tokens=200, priority="batch", weight=7)
    made.subject("tenant", "ten_a", plan="plan_a", time_zone="Europe/Berlin")
    made.subject("user", "user_a")
    made.key(user="user_a", plan="plan_b")
    made.whole()
    yield made
    made.redis.close()


def amounts(found):
    assert isinstance(found, Principal)
    return {(held.kind, held.limit.id): held.limit.amount for held in found.limits}


async def test_plans_of_all_levels_are_found(server, api):
    own = LimitRecord(id="lim_own", meter="total_tokens", window="minute", amount=50)
    api.subject("user", "user_a", limits=(own,))
    async with directory_at(server.address) as directory:
        found = await directory.find(TOKEN, None, utc_now())
        expected = {("tenant", "lim_minute"): 10_000, ("tenant", "lim_day"): 500, ("user", "lim_own"): 50}
        assert amounts(found) == expected
        assert found.time_zone == "Europe/Berlin"
        assert found.plan_models == (frozenset({"tiny", "big"}), frozenset({"tiny"}))
        assert (found.max_tokens, found.priority, found.weight) == (100, "batch", 300)


async def test_a_plan_that_changes_is_in_force_within_a_second(server, api):
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        for amount in range(1, 11):
            await directory.find(TOKEN, None, utc_now())
            limit = LimitRecord(id="lim_minute", meter="total_tokens", window="minute", amount=amount)
            api.plan("plan_a", limits=(limit,))
            began = time.monotonic()
            await until(lambda: directory.cached(TOKEN, utc_now()) is None)
            assert amounts(await directory.find(TOKEN, None, utc_now())) == {("tenant", "lim_minute"): amount}
            assert time.monotonic() - began < 1.0


async def test_a_plan_that_is_taken_on_or_left_is_in_force_too(server, api):
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        assert len(amounts(await directory.find(TOKEN, None, utc_now()))) == 2
        for plan, held in ((None, 0), ("plan_a", 2)):
            api.subject("tenant", "ten_a", plan=plan)
            await until(lambda: directory.cached(TOKEN, utc_now()) is None)
            assert len(amounts(await directory.find(TOKEN, None, utc_now()))) == held


async def test_nobody_is_let_in_without_the_limits_of_a_plan_that_is_not_there(server, api):
    api.subject("tenant", "ten_a", plan="plan_missing")
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        assert await directory.find(TOKEN, None, utc_now()) == UNAVAILABLE


async def test_plans_are_known_while_redis_is_away_and_after_a_start(server, api, tmp_path):
    async with directory_at(server.address, folder=tmp_path) as directory:
        await until(lambda: directory.reader.whole)
        before = await directory.find(TOKEN, None, utc_now())
        api.plan("plan_a", limits=(DAY,), max_tokens=3)
        await until(lambda: directory._memory._plans.by_name["plan_a"].max_tokens == 3)
        await directory.saver.save()
    server.kill()
    async with directory_at(server.address, folder=tmp_path) as directory:
        found = await directory.find(TOKEN, None, utc_now())
        assert isinstance(found, Principal)
        assert (len(before.limits), len(found.limits), found.max_tokens) == (2, 1, 3)


def test_a_file_of_before_there_were_plans_can_be_read(tmp_path):
    saved = b'{"as_of":"2026-11-21T12:00:00Z","keys":{},"subjects":{}}'
    (tmp_path / "keys-x-1.json").write_bytes(saved)
    (loaded,) = load(tmp_path, NOW, timedelta(hours=1))
    assert loaded.plans == {}


LIMITS = st.lists(
    st.builds(
        LimitRecord,
        id=st.just("lim"),
        model=st.sampled_from([None, "tiny"]),
        meter=st.sampled_from(["requests", "total_tokens"]),
        window=st.sampled_from(["minute", "day"]),
        amount=st.integers(0, 9),
    ),
    max_size=4,
    unique_by=lambda limit: limit.place,
).map(tuple)
PLANS = st.none() | st.builds(
    PlanRecord,
    id=st.sampled_from("ab"),
    limits=LIMITS,
    models=st.none() | st.just(("tiny",)),
    max_tokens=st.none() | st.integers(1, 9),
    revision=st.just(1),
)


@given(st.tuples(LIMITS, LIMITS, LIMITS, LIMITS), st.tuples(PLANS, PLANS, PLANS, PLANS))
def test_every_level_is_held_to_its_own_and_what_of_its_plan_it_does_not_replace(own, plans):
    known = {plan.id: plan for plan in plans if plan is not None}
    names = [plan.id if plan is not None else None for plan in plans]
    tenant, team, user = (
        SubjectRecord(id=name, plan=plan, limits=limits, revision=1)
        for name, plan, limits in zip("tgu", names, own, strict=False)
    )
    key = KeyRecord(id="k", tenant="t", team="g", user="u", plan=names[3], limits=own[3], revision=1)
    who = judge(Identity("d", key, tenant, team, user, known), NOW)
    assert isinstance(who, Principal)
    found = {}
    for held in who.limits:
        assert (held.subject, held.limit.place) not in found, "one limit of a kind for each"
        found[held.subject, held.limit.place] = held.limit
    for name, plan, limits in zip("tguk", names, own, strict=True):
        planned = known[plan].limits if plan is not None else ()
        expected = {limit.place: limit for limit in planned} | {limit.place: limit for limit in limits}
        assert {place: limit for (subject, place), limit in found.items() if subject == name} == expected
    caps = [known[name].max_tokens for name in names if name is not None and known[name].max_tokens is not None]
    assert who.max_tokens == min(caps, default=None)
    assert len(who.plan_models) == sum(name is not None and known[name].models is not None for name in names)
