"""`Idempotency-Key`: done once, answered alike; secrets never again; races, crashes and reuse refused."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import select

from billing_api import idempotency
from billing_api.accounts.models import Tenant
from billing_api.idempotency import StoredAnswer
from billing_api.keys.models import Key
from tests.billing_api.conftest import Api

KEY = {"Idempotency-Key": "7d3b"}


async def count(api: Api, table: Any) -> int:
    async with api.services.database.reading() as session:
        return len((await session.scalars(select(table))).all())


async def test_the_same_request_gets_the_stored_answer(api: Api) -> None:
    first = await api.http.post("/v1/tenants", json={"name": "a"}, headers=KEY)
    again = await api.http.post("/v1/tenants", json={"name": "a"}, headers=KEY)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert await count(api, Tenant) == 1


async def test_another_request_under_the_same_key_is_refused(api: Api) -> None:
    tenant = await api.post("/v1/tenants", {"name": "a"}, headers=KEY)
    assert (await api.post("/v1/tenants", {"name": "b"}, 422, headers=KEY))["code"] == "idempotency_key_reused"
    body = {"name": "a", "tenant": tenant["id"]}
    assert (await api.post("/v1/teams", body, 422, headers=KEY))["code"] == "idempotency_key_reused"
    assert await count(api, Tenant) == 1


async def test_a_secret_is_never_given_again(api: Api) -> None:
    body = {"tenant": await api.tenant()}
    made = await api.post("/v1/keys", body, headers=KEY)
    problem = await api.post("/v1/keys", body, 409, headers=KEY)
    assert (problem["code"], problem["id"]) == ("secret_already_shown", made["id"])
    assert made["secret"] not in repr(problem)
    assert await count(api, Key) == 1
    async with api.services.database.reading() as session:
        assert (await session.scalars(select(StoredAnswer.body))).all() == [None]


async def test_an_imported_key_has_no_secret_to_hide(api: Api) -> None:
    body = {"tenant": await api.tenant(), "secret": "sk-imported-0123456789"}
    assert await api.post("/v1/keys", body, headers=KEY) == await api.post("/v1/keys", body, headers=KEY)


async def test_a_refused_request_leaves_the_key_free(api: Api) -> None:
    assert (await api.post("/v1/tenants", {"name": ""}, 422, headers=KEY))["code"] == "invalid_request"
    assert (await api.post("/v1/teams", {"name": "t", "tenant": "ten_0"}, 422, headers=KEY))["code"] == "unknown_tenant"
    await api.post("/v1/tenants", {"name": "a"}, headers=KEY)


@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "tab\there"])
async def test_strange_keys_are_refused(api: Api, key: str) -> None:
    response = await api.http.post(
        "/v1/tenants", json={"name": "a"}, headers={b"idempotency-key": key.encode("latin-1")}
    )
    assert (response.status_code, response.json()["code"]) == (422, "invalid_idempotency_key")


async def test_of_many_at_once_one_works_and_the_others_wait_or_repeat(api: Api) -> None:
    async def attempt() -> tuple[int, str]:
        response = await api.http.post("/v1/tenants", json={"name": "a"}, headers=KEY)
        return response.status_code, response.json().get("code", response.json()["id"] if response.is_success else "")

    answers = await asyncio.gather(*(attempt() for _ in range(12)))
    assert {code for status, code in answers if status != 201} <= {"idempotency_key_in_use"}
    assert len({code for status, code in answers if status == 201}) == 1
    assert await count(api, Tenant) == 1


async def test_while_the_first_still_runs_the_second_is_told_to_wait(api: Api) -> None:
    database, now = api.services.database, api.clock.now
    body = b'{"name":"a"}'
    held = await idempotency.claim(database, "admin", "7d3b", idempotency.fingerprint("/v1/tenants", "", body), now)
    assert isinstance(held, idempotency.Claim)
    response = await api.http.post("/v1/tenants", content=body, headers={**KEY, "content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_in_use")
    assert response.headers["retry-after"] == "1"
    await idempotency.release(database, held)
    await api.post("/v1/tenants", {"name": "a"}, headers=KEY)


async def test_a_claim_whose_process_died_is_taken_over_and_its_holder_cannot_commit(api: Api) -> None:
    database, now = api.services.database, api.clock.now
    dead = await idempotency.claim(database, "admin", "7d3b", "any", now)
    assert isinstance(dead, idempotency.Claim)
    api.clock.forward(seconds=61)
    made = await api.post("/v1/tenants", {"name": "a"}, headers=KEY)
    with pytest.raises(Exception, match="still running"):
        async with database.writing() as session:
            await idempotency.complete(session, dead, _Answer(), None)  # type: ignore[arg-type]
    assert await api.post("/v1/tenants", {"name": "a"}, headers=KEY) == made


class _Answer:
    status_code = 201
    body = b"{}"


async def test_answers_are_forgotten_after_a_week(api: Api) -> None:
    await api.post("/v1/tenants", {"name": "a"}, headers=KEY)
    await idempotency.forget(api.services.database, api.clock.now + timedelta(days=7))
    assert await count(api, StoredAnswer) == 1
    await idempotency.forget(api.services.database, api.clock.now + timedelta(days=7, seconds=1))
    assert await count(api, StoredAnswer) == 0


async def test_a_failure_of_ours_leaves_nothing_behind(api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("billing_api.accounts.service.record", broken)
    problem = await api.post("/v1/tenants", {"name": "a"}, 500, headers=KEY)
    assert problem["code"] == "internal_error"
    assert "broken" not in repr(problem)
    assert await count(api, Tenant) == 0
    assert await redis.keys("wb:tenant:*") == []
    monkeypatch.undo()
    await api.post("/v1/tenants", {"name": "a"}, headers=KEY)
