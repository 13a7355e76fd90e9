"""`kill -9` of every part under load: `up` brings each back, and in the end the counts agree (promises P1 and P3)."""

import asyncio
from functools import partial

import pytest

from tests.servers import wait_until
from tests.system import Simulator, System, Traffic, send

PARTS = ("proxy", "stream", "kafka", "redis", "clickhouse", "api")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killing_every_part_in_turn_loses_and_doubles_nothing(system: System, simulator: Simulator):
    keys = [system.key(f"Fault {number}")[1] for number in range(3)]
    load = asyncio.create_task(asyncio.to_thread(asyncio.run, keep_sending(system, keys, rounds=3 * len(PARTS))))
    for part in PARTS:
        await asyncio.sleep(2)
        old = system.pids(part)
        assert old, f"{part} has no process"
        system.kill(part)
        await asyncio.to_thread(wait_until, partial(_returned, system, part, old), 60, f"{part} to return")
    traffic = await load

    generated = simulator.requests()
    seen = traffic.answered | traffic.cut
    assert len(seen) > 1000, "too little got through to prove anything"
    assert seen <= generated.keys()
    events = system.wait_for_ledger(set(generated))
    for name, event in events.items():
        if event["outcome"] == "proxy_lost":
            assert name not in traffic.answered, (
                "a client has the whole answer, yet the ledger says that the proxy lost it"
            )
            assert event["accuracy"] != "exact"
            assert (event["output_tokens"] or 0) <= (generated[name]["generated_tokens"] if name in generated else 0)
        elif name in generated:
            counted = (event["input_tokens"], event["output_tokens"])
            assert counted == (generated[name]["prompt_tokens"], generated[name]["generated_tokens"]), event


def _returned(system: System, part: str, old: list[int]) -> bool:
    now = system.pids(part)
    return bool(now) and not set(now) & set(old)


async def keep_sending(system: System, keys: list[str], rounds: int) -> Traffic:
    """Send for as long as the parts are killed, round after round."""
    total = Traffic()
    for number in range(rounds):
        part = await send(system.endpoints["proxy"], keys, requests=150, concurrency=8, seed=number)
        total.add(part)
    return total
