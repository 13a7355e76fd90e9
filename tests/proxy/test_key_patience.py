"""A Redis that is slow is not away: a request whose key nobody remembers waits for it, but not for long."""

import asyncio
import signal

import pytest

from contracts.clock import utc_now
from proxy import key_directory
from proxy.identity import INVALID, UNAVAILABLE
from proxy.ports import Principal
from tests.proxy import parts
from tests.proxy.directories import OTHER, TOKEN, Api, directory_at, until

NEVER = 3600.0


@pytest.fixture
def server(tmp_path):
    with parts.redis(tmp_path) as running:
        yield running


@pytest.fixture
def api(server):
    made = Api(server.address)
    made.subject("tenant", "ten_a")
    made.key()
    made.whole()
    yield made
    made.redis.close()


async def test_a_new_key_is_let_in_by_a_redis_that_hung_beyond_its_time_out(server, api, monkeypatch):
    monkeypatch.setattr(key_directory, "PATIENCE", NEVER)
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        server.process.send_signal(signal.SIGSTOP)
        asked = asyncio.create_task(directory.find(TOKEN, None, utc_now()))
        await until(lambda: not directory.connected)
        asked_later = asyncio.create_task(directory.find(OTHER, None, utc_now()))
        await asyncio.sleep(0.1)
        server.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(120):
            assert isinstance(await asked, Principal)
            await asked_later
        assert asked_later.result() == INVALID


async def test_a_lookup_that_fails_while_redis_is_there_is_made_again(server, api, monkeypatch):
    """As when all connections are taken for a moment: nobody ever says that Redis is away."""
    monkeypatch.setattr(key_directory, "PATIENCE", NEVER)
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        fetch, failures = directory._source.fetch, [ConnectionError("No connection available."), TimeoutError()]

        async def fail_first(digest):
            if failures:
                raise failures.pop()
            return await fetch(digest)

        monkeypatch.setattr(directory._source, "fetch", fail_first)
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        assert failures == []


async def test_nobody_waits_for_a_redis_that_has_been_away_for_long(server, api, monkeypatch):
    monkeypatch.setattr(key_directory, "PATIENCE", 0.5)
    monkeypatch.setattr(key_directory, "ASK_AGAIN_AFTER", NEVER)
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        server.kill()
        await until(lambda: not directory.connected)
        await asyncio.sleep(0.6)
        async with asyncio.timeout(120):
            assert await directory.find(TOKEN, None, utc_now()) == UNAVAILABLE


async def test_who_is_remembered_does_not_wait(server, api, monkeypatch):
    monkeypatch.setattr(key_directory, "PATIENCE", NEVER)
    monkeypatch.setattr(key_directory, "ASK_AGAIN_AFTER", NEVER)
    async with directory_at(server.address) as directory:
        await until(lambda: directory.reader.whole)
        assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
        server.kill()
        await until(lambda: not directory.connected)
        directory.forget_answers()
        async with asyncio.timeout(120):
            assert isinstance(await directory.find(TOKEN, None, utc_now()), Principal)
