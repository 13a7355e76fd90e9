"""Several processes hammer one key on one Redis: never above the limit in any window, and nearly all of it is used."""

import subprocess
import sys

import pytest
import redis

from tests.servers import ROOT

PROCESSES = 4


@pytest.fixture(autouse=True)
def empty(server):
    with redis.Redis.from_url(server.address) as client:
        client.flushall()


def hammer(server, seconds, *arguments):
    """Return (microseconds before, after, tokens) of everything that all processes let in, by the moment after."""
    command = [sys.executable, "-m", "tests.proxy.limits.hammer", server.address]
    running = [
        subprocess.Popen([*command, f"p{number}", str(seconds), *map(str, arguments)], stdout=subprocess.PIPE, cwd=ROOT)
        for number in range(PROCESSES)
    ]
    printed = [process.communicate(timeout=120)[0].decode() for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    lines = [line for text in printed for line in text.splitlines() if line.startswith("admitted ")]
    admitted = [tuple(map(int, line.split()[1:])) for line in lines]
    return sorted(admitted, key=lambda entry: entry[1])


def fullest(admitted, length):
    """Return the most that was surely let in within a window of the length (microseconds), wherever it begins."""
    return max(
        sum(tokens for before, _, tokens in admitted[:last] if before > end - length)
        for last, (_, end, _) in enumerate(admitted, start=1)
    )


@pytest.mark.parametrize(("tokens", "used"), [(10, 10), (30, 10)])
def test_a_minute_is_never_above_and_nearly_all_of_it_is_used(server, tokens, used):
    admitted = hammer(server, 4, 10_000, "minute", tokens, used)
    assert 9_700 <= fullest(admitted, 60_000_000) <= 10_000


def test_no_second_is_above_wherever_it_begins(server):
    admitted = hammer(server, 5, 500, "second", 1, 1)
    assert fullest(admitted, 1_000_000) <= 500
    assert sum(tokens for *_, tokens in admitted) > 500 * 2
