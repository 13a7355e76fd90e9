"""A part that hangs or is gone for a while: requests go on, the spool keeps what happened, all is delivered later."""

import asyncio
import signal

import pytest

from tests.servers import listens, wait_until
from tests.system import Simulator, System, send

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("part", ["kafka", "clickhouse", "stream", "api"])
async def test_requests_go_on_while_a_part_hangs(system: System, simulator: Simulator, part: str):
    keys = [system.key("Away")[1]]
    await send(system.endpoints["proxy"], keys, requests=20)
    system.kill(part, signal.SIGSTOP)
    try:
        traffic = await send(system.endpoints["proxy"], keys, requests=300)
    finally:
        system.kill(part, signal.SIGCONT)
    assert (traffic.failed, traffic.errors) == (0, {})
    events = system.wait_for_ledger(set(simulator.requests()), seconds=120)
    assert {name for name, event in events.items() if event["accuracy"] != "exact"} == set()


async def test_a_stopped_stream_loses_nothing_on_a_broker_that_forgets(system: System, simulator: Simulator):
    """The embedded broker keeps 5 MB a partition; one tenant's events all go to one, and these are more than that."""
    keys = [system.key("One partition")[1]]
    await send(system.endpoints["proxy"], keys, requests=20)
    system.kill("stream", signal.SIGSTOP)
    try:
        traffic = await send(system.endpoints["proxy"], keys, requests=6000, concurrency=32, cut_share=0)
        assert (traffic.failed, traffic.errors) == (0, {})
        await asyncio.sleep(12)  # beyond the time after which what was not acknowledged is sent again
    finally:
        system.kill("stream", signal.SIGCONT)
    system.wait_for_ledger(traffic.answered, seconds=120)


async def test_without_redis_known_keys_go_on_and_a_new_proxy_still_admits(system: System):
    keys = [system.key("Redis away")[1]]
    await send(system.endpoints["proxy"], keys, requests=20)
    await asyncio.sleep(2)  # the cache on disk is written behind
    system.kill("redis", signal.SIGSTOP)
    try:
        known = await send(system.endpoints["proxy"], keys, requests=100, cut_share=0)
        assert (known.failed, known.errors) == (0, {})
        old = system.pids("proxy")
        system.kill("proxy")
        await asyncio.to_thread(
            wait_until, lambda: set(system.pids("proxy")).isdisjoint(old), 60, "the proxy to return"
        )
        await asyncio.to_thread(wait_until, lambda: _accepts(system), 30, "the proxy to accept")
        restarted = await send(system.endpoints["proxy"], keys, requests=100, cut_share=0)
        assert (restarted.failed, restarted.errors) == (0, {})
        unknown = await send(system.endpoints["proxy"], ["sk-imported-but-unknown"], requests=1, cut_share=0)
        assert unknown.errors == {"limits_unavailable": 1}
    finally:
        system.kill("redis", signal.SIGCONT)
    system.wait_for_ledger(known.answered | restarted.answered)


def _accepts(system: System) -> bool:
    return listens(int(system.endpoints["proxy"].rsplit(":", 1)[1]))
