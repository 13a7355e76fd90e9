import asyncio
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import keys, projection, redis_keys
from contracts.clock import utc_now
from contracts.projection import KeyRecord, SubjectRecord
from proxy import key_directory, remembered
from proxy.identity import EXPIRED, INVALID, SUSPENDED, UNAVAILABLE, Identity, judge
from proxy.key_memory import load
from proxy.ports import Principal
from tests.proxy import parts
from tests.proxy.directories import NOW, OTHER, PEPPER, TOKEN, Api, directory_at, until


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What waiting for a slow Redis is good for: test_key_patience.py."""
    monkeypatch.setattr(key_directory, "PATIENCE", 0.0)


@pytest.fixture
def server(tmp_path):
    with parts.redis(tmp_path) as running:
        yield running


@pytest.fixture
def api(server):
    made = Api(server.address)
    made.subject("tenant", "ten_a", tags={"tier": "gold", "who": "tenant"})
    made.key()
    made.whole()
    yield made
    made.redis.close()


async def test_a_known_key_is_answered_and_then_from_memory(server, api):
    async with directory_at(server.address) as directory:
        assert directory.cached(TOKEN, utc_now()) is None
        found = await directory.find(TOKEN, None, utc_now())
        assert isinstance(found, Principal)
        assert (found.key.id, found.key.tenant, found.tags) == ("key_1", "ten_a", {"tier": "gold", "who": "tenant"})
        assert directory.cached(TOKEN, utc_now()) == found


async def test_an_unknown_key_is_refused_and_let_in_once_it_is_made(server, api):
    async with directory_at(server.address) as directory:
        assert await directory.find(OTHER, None, utc_now()) == INVALID
        assert directory.cached(OTHER, utc_now()) == INVALID
        await until(lambda: directory.reader.whole)
        api.key(OTHER)
        async with asyncio.timeout(120):
            while not isinstance(await directory.find(OTHER, None, utc_now()), Principal):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("token", [b"mistyped", b"wb_live_x", b"wb_\xff"])
async def test_a_malformed_key_of_ours_asks_nobody(token):
    if token == b"mistyped":
        token = TOKEN[:-1] + (b"0" if TOKEN[-1:] != b"0" else b"1")
    async with directory_at("redis://127.0.0.1:1/0", follow=False) as directory:
        assert await directory.find(token, None, utc_now()) == INVALID


async def test_a_revoked_key_is_refused_within_a_second(server, api):
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        waits = []
        for _ in range(20):
            assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
            await asyncio.to_thread(api.key, status="revoked")
            began = time.monotonic()
            while isinstance(await directory.find(TOKEN, None, utc_now()), Principal):
                await asyncio.sleep(0.001)
            waits.append(time.monotonic() - began)
            assert directory.cached(TOKEN, utc_now()) == INVALID
            await asyncio.to_thread(api.key, status="active")
            while not isinstance(await directory.find(TOKEN, None, utc_now()), Principal):
                await asyncio.sleep(0.001)
        assert max(waits) < 1.0


def assert_refused(found, refusal):
    assert found == refusal
    assert found.who is not None, "requests that pass all the same are recorded as the key's tenant's"
    assert (found.who.key.id, found.who.key.tenant) in (("key_1", "ten_a"), ("k", "t"))


@pytest.mark.parametrize("kind", ["tenant", "team", "user"])
async def test_a_suspended_subject_is_refused_and_back_again(server, api, kind):
    api.subject("team", "team_a", tags={"who": "team", "team": "yes"})
    api.subject("user", "user_a", tags={"who": "user"})
    api.key(team="team_a", user="user_a", tags={"own": "key"})
    name = {"tenant": "ten_a", "team": "team_a", "user": "user_a"}[kind]
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        found = await directory.find(TOKEN, None, utc_now())
        assert found.tags == {"tier": "gold", "who": "user", "team": "yes", "own": "key"}
        api.subject(kind, name, status="suspended")
        await until(lambda: directory.cached(TOKEN, utc_now()) is None)
        assert_refused(await directory.find(TOKEN, None, utc_now()), SUSPENDED[kind])
        api.subject(kind, name)
        await until(lambda: directory.cached(TOKEN, utc_now()) is None)
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)


async def test_while_redis_is_away_known_keys_go_on_and_others_wait(server, api):
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        server.kill()
        await until(lambda: not directory.connected)
        assert isinstance(directory.cached(TOKEN, utc_now()), Principal)
        directory.forget_answers()
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        assert await directory.find(OTHER, None, utc_now()) == UNAVAILABLE
        server.start()
        await until(lambda: directory.reader.whole)
        assert await directory.find(OTHER, None, utc_now()) == INVALID


async def test_a_key_that_changed_just_before_redis_went_away_is_known(server, api):
    async with directory_at(server.address) as directory:
        await directory.find(TOKEN, None, utc_now())
        api.key(tags={"who": "changed"})
        await until(lambda: directory._memory.key(keys.digest(TOKEN, PEPPER)).tags == {"who": "changed"})
        server.kill()
        found = await directory.find(TOKEN, None, utc_now())
        assert isinstance(found, Principal)
        assert found.tags["who"] == "changed"


async def test_the_grace_ends(server, api):
    async with directory_at(server.address, grace=timedelta(seconds=2)) as directory:
        await until(lambda: directory.reader.whole)
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        server.kill()
        await until(lambda: not directory.connected)
        later = utc_now() + timedelta(minutes=1)
        assert directory.cached(TOKEN, later) is None
        directory._clock = lambda: later
        assert await directory.find(TOKEN, None, later) == UNAVAILABLE


async def test_a_redis_that_lost_its_memory_says_nothing_about_keys(server, api):
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        api.redis.flushall()
        await until(lambda: not directory.reader.whole)
        directory.forget_answers()
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        assert await directory.find(OTHER, None, utc_now()) == UNAVAILABLE
        api.subject("tenant", "ten_a")
        api.key(status="revoked")
        api.whole(NOW + timedelta(hours=1))
        await until(lambda: directory.reader.whole)
        await until(lambda: directory.cached(TOKEN, utc_now()) in (None, INVALID))
        assert await directory.find(TOKEN, None, utc_now()) == INVALID
        assert await directory.find(OTHER, None, utc_now()) == INVALID


async def test_a_change_that_was_missed_while_away_is_caught_up(server, api):
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        server.kill()
        await until(lambda: not directory.connected)
        server.start()
        api.key(status="revoked")
        await until(lambda: directory.reader.whole)
        async with asyncio.timeout(120):
            while await directory.find(TOKEN, None, utc_now()) != INVALID:
                await asyncio.sleep(0.01)


async def test_too_many_changes_at_once_have_everything_read_again(server, api, monkeypatch):
    monkeypatch.setattr("proxy.key_changes.FELL_BEHIND", 3)
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        place = redis_keys.key_record(keys.digest(TOKEN, PEPPER))
        revoked = KeyRecord(id="key_1", tenant="ten_a", status="revoked", revision=99)
        with api.redis.pipeline(transaction=True) as pipe:
            pipe.hset(place, mapping={"revision": 99, "record": projection.encode(revoked)})
            for number in range(3):  # its own announcement was trimmed away
                pipe.xadd(redis_keys.CHANGES, {"kind": "key", "id": f"other{number}"})
            pipe.execute()
        await until(lambda: directory.cached(TOKEN, utc_now()) is None)
        assert await directory.find(TOKEN, None, utc_now()) == INVALID


async def test_an_older_copy_brings_no_revoked_key_back(server, api):
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        api.key(status="revoked")
        await asyncio.sleep(0.2)
        assert await directory.find(TOKEN, None, utc_now()) == INVALID
        old = KeyRecord(id="key_1", tenant="ten_a", revision=1)
        api.redis.hset(
            redis_keys.key_record(keys.digest(TOKEN, PEPPER)), mapping={"revision": 1, "record": projection.encode(old)}
        )
        directory.forget_answers()
        assert await directory.find(TOKEN, None, utc_now()) == INVALID


async def test_an_answer_is_checked_again_in_the_background(server, api, monkeypatch):
    async with directory_at(server.address, follow=False) as directory:
        directory.in_touch(utc_now())
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        api.key(status="revoked")
        assert isinstance(directory.cached(TOKEN, utc_now()), Principal)
        assert isinstance(directory.cached(TOKEN, utc_now() + timedelta(seconds=31)), Principal)
        await until(lambda: directory.cached(TOKEN, utc_now()) == INVALID)


async def test_a_proxy_started_while_redis_is_away_admits_what_the_last_one_knew(server, api, tmp_path):
    async with directory_at(server.address, folder=tmp_path) as directory:
        await until(lambda: directory.reader.whole)
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        await directory.saver.save()
    server.kill()
    [path] = tmp_path.glob("keys-*.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert TOKEN not in path.read_bytes()
    async with directory_at(server.address, folder=tmp_path) as directory:
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        assert await directory.find(OTHER, None, utc_now()) == UNAVAILABLE
    async with directory_at(server.address, folder=tmp_path, grace=timedelta(0)) as directory:
        assert await directory.find(TOKEN, None, utc_now()) == UNAVAILABLE


async def test_what_was_loaded_is_read_again_as_soon_as_redis_answers(server, api, tmp_path):
    async with directory_at(server.address, folder=tmp_path) as directory:
        await until(lambda: directory.reader.whole)
        await directory.find(TOKEN, None, utc_now())
        await directory.saver.save()
    api.key(status="revoked")
    async with directory_at(server.address, folder=tmp_path) as directory:
        await until(lambda: directory.reader.whole)
        server.kill()
        await until(lambda: not directory.connected)
        assert await directory.find(TOKEN, None, utc_now()) == INVALID


def test_a_damaged_file_is_as_good_as_none(tmp_path):
    (tmp_path / "keys-x-1.json").write_bytes(b"{")
    assert load(tmp_path, NOW, timedelta(hours=1)) == []


async def test_what_is_remembered_is_bounded(server, api, monkeypatch):
    monkeypatch.setattr(remembered, "KEPT", 20)
    monkeypatch.setattr(key_directory, "ANSWERS_KEPT", 10)
    monkeypatch.setattr(key_directory, "UNKNOWN_KEPT", 10)
    tokens = [b"imported-%d" % number for number in range(50)]
    for token in tokens:
        api.key(token)
    api.whole()
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        for token in tokens:
            assert isinstance(await directory.find(token, None, utc_now()), Principal)
            assert await directory.find(token + b"?", None, utc_now()) == INVALID
        assert (len(directory._answers), len(directory._unknown)) == (10, 10)
        assert len(list(directory._memory.names())) == 21
        assert not directory._running


TAGS = st.dictionaries(st.sampled_from("abc"), st.text(max_size=2))


@given(TAGS, TAGS, TAGS, TAGS, st.integers(-2, 2), st.booleans())
def test_judgement(tenant, team, user, key, hours, team_suspended):
    identity = Identity(
        "d",
        KeyRecord(
            id="k", tenant="t", team="g", user="u", tags=key, expires_at=NOW + timedelta(hours=hours), revision=1
        ),
        SubjectRecord(id="t", tags=tenant, revision=1),
        SubjectRecord(id="g", tags=team, revision=1, status="suspended" if team_suspended else "active"),
        SubjectRecord(id="u", tags=user, revision=1),
    )
    found = judge(identity, NOW)
    if hours <= 0:
        assert_refused(found, EXPIRED)
    elif team_suspended:
        assert_refused(found, SUSPENDED["team"])
    else:
        assert found == Principal(identity.key, {**tenant, **team, **user, **key})
