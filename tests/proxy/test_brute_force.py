"""Who guesses keys: Redis is asked so often and no oftener, and those whose keys are known notice nothing."""

import asyncio
import time

import pytest

from contracts import keys
from contracts.clock import utc_now
from proxy import key_directory
from proxy.guard import ADDRESS_BURST, Guard
from proxy.identity import INVALID
from proxy.ports import Principal, Refusal
from tests.proxy import parts
from tests.proxy.directories import TOKEN, Api, directory_at, until
from tests.proxy.serving import BODY, CHAT, proxy, unary

GUESSED = [keys.create(f"key_01jabcdefghjkmnpqrstv{number:05}").encode() for number in range(10, 400)]
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def api(tmp_path):
    with parts.redis(tmp_path) as server:
        made = Api(server.address)
        made.subject("tenant", "ten_a")
        made.key()
        made.whole()
        yield made
        made.redis.close()


def failures(directory, reason):
    return directory.registry.get_sample_value("weighbridge_identity_failures_total", {"reason": reason}) or 0


async def guess(directory, count, address=HERE):
    return [await directory.find(token, address, utc_now()) for token in GUESSED[:count]]


async def test_guesses_beyond_the_bound_cost_redis_nothing_and_known_keys_get_through(api):
    async with directory_at(api.address, guard=Guard()) as directory:
        await until(lambda: directory.reader.whole)
        assert isinstance(await directory.find(TOKEN, HERE, utc_now()), Principal)
        began = time.monotonic()
        calls, fetch = [], directory._source.fetch

        async def count_calls(digest):
            calls.append(digest)
            return await fetch(digest)

        directory._source.fetch = count_calls
        found = await guess(directory, len(GUESSED))
        allowed = ADDRESS_BURST + time.monotonic() - began + 1
        assert len(calls) <= allowed
        codes = [each.code for each in found]
        assert codes[:ADDRESS_BURST] == ["invalid_api_key"] * ADDRESS_BURST
        assert codes[-1] == "rate_limit_exceeded"
        assert 0 < found[-1].retry_after <= 1
        assert isinstance(directory.cached(TOKEN, utc_now()), Principal)
        assert isinstance(await directory.find(TOKEN, HERE, utc_now()), Principal)
        assert failures(directory, "key") == len(calls) == codes.count("invalid_api_key")
        assert failures(directory, "throttled") == codes.count("rate_limit_exceeded")


async def test_another_address_is_not_kept_waiting_and_who_waits_as_told_gets_in(api):
    async with directory_at(api.address, guard=Guard()) as directory:
        found = await guess(directory, len(GUESSED))
        assert found[-1].code == "rate_limit_exceeded"
        assert await directory.find(GUESSED[-1], ELSEWHERE, utc_now()) == INVALID
        told = found[-1]
        while (
            told.code == "rate_limit_exceeded"
        ):  # others may have come meanwhile: nobody does here, but the clock goes on
            await asyncio.sleep(told.retry_after)
            told = await directory.find(TOKEN, HERE, utc_now())
            if isinstance(told, Principal):
                break
        assert isinstance(told, Principal)


async def test_one_wrong_key_shown_again_and_again_is_one_guess(api):
    async with directory_at(api.address, guard=Guard()) as directory:
        for _ in range(3 * ADDRESS_BURST):
            assert await directory.find(GUESSED[0], HERE, utc_now()) == INVALID
        assert isinstance(await directory.find(TOKEN, HERE, utc_now()), Principal)


async def test_keys_that_somebody_holds_are_no_guesses(api):
    api.key(GUESSED[0], status="revoked")
    held = [b"imported-%d" % number for number in range(ADDRESS_BURST + 10)]
    for token in held:
        api.key(token)
    async with directory_at(api.address, guard=Guard()) as directory:
        for token in held:
            assert isinstance(await directory.find(token, HERE, utc_now()), Principal)
            directory.forget_answers()
            assert await directory.find(GUESSED[0], HERE, utc_now()) == INVALID
        assert failures(directory, "key") == 0


async def test_a_redis_that_is_away_makes_nobody_a_guesser(monkeypatch):
    monkeypatch.setattr(key_directory, "PATIENCE", 0.0)
    async with directory_at("redis://127.0.0.1:1/0", follow=False, guard=Guard()) as directory:
        found = await guess(directory, len(GUESSED))
        assert {each.code for each in found} == {"limits_unavailable"}


async def test_what_is_too_long_for_a_key_is_neither_looked_up_nor_remembered(api):
    async with directory_at(api.address, guard=Guard()) as directory:
        assert await directory.find(b"x" * (key_directory.LONGEST + 1), HERE, utc_now()) == INVALID
        assert len(directory._unknown) == 0


async def test_the_address_is_the_clients_and_the_answer_says_how_long_to_wait():
    async with proxy(unary, trusted_proxies=("127.0.0.0/8",)) as running:
        running.directory.distant[b"guess"] = Refusal("rate_limit_exceeded", "Too many.", retry_after=2.2)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guess\r\nX-Forwarded-For: 203.0.113.7\r\n"
        answer = await running.ask(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
    assert running.directory.addresses == ["203.0.113.7"]
    assert (answer.status, dict(answer.headers)[b"retry-after"]) == (429, b"3")
