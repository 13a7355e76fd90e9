"""What the agents commit, when a process starts over, and how it reaches Kafka; no broker needed."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from contracts import topics
from contracts.settings import SettingsError, load
from stream import app as module
from stream import kafka
from stream.app import AGENTS, Lifecycle, build, offsets, watch
from stream.retry import Health, persist
from stream.settings import StreamSettings


def event(partition: int, offset: int, generation: int) -> Any:
    message = SimpleNamespace(tp=TP(topics.USAGE, partition), offset=offset, generation_id=generation)
    return SimpleNamespace(message=message)


async def nothing(_records: Any) -> None:
    return None


def application(**flags: Any) -> Any:
    settings = load(StreamSettings, **flags)
    return build(settings, "/nonexistent", dict.fromkeys(AGENTS, nothing), Lifecycle(), Health())


def test_commits_up_to_the_last_record_of_each_partition() -> None:
    batch = [event(0, 7, 2), event(1, 3, 2), event(0, 8, 2)]
    assert offsets(batch, 2) == {TP(topics.USAGE, 0): 9, TP(topics.USAGE, 1): 4}


def test_commits_nothing_that_was_read_before_a_rebalance() -> None:
    assert offsets([event(0, 7, 1), event(1, 3, 2)], 2) == {TP(topics.USAGE, 1): 4}
    assert offsets([event(0, 7, 1)], 2) == {}


def test_faust_itself_acknowledges_and_creates_nothing() -> None:
    found = application()
    found.finalize()
    assert {topic for names in AGENTS.values() for topic in names} == {topics.USAGE, topics.REQUEST, topics.INSTANCE}
    assert all(agent.channel.acks is False for agent in found.agents.values())
    assert found.conf.topic_allow_declare is False
    assert found.conf.consumer_auto_offset_reset == "earliest"
    assert found.conf.web_enabled is False


def test_a_group_of_its_own_for_every_start_where_no_offsets_are_kept() -> None:
    names = {application(stream_reread=True).conf.id for _ in range(2)}
    assert len(names) == 2
    assert application().conf.id == "weighbridge-stream"


async def test_starts_over_when_it_gets_no_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    class EndedError(Exception):
        pass

    def end(_code: int) -> None:
        raise EndedError

    monkeypatch.setattr(module, "ASSIGNMENT_SECONDS", 0.0)
    monkeypatch.setattr("os._exit", end)
    with pytest.raises(EndedError):
        await asyncio.wait_for(watch(Lifecycle(), Health({"assignment": "none"})), 10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch(Lifecycle(), Health({"roll-ups": "away"})), 1.5)


async def test_stopping_waits_for_the_batch_in_hand_and_lets_no_other_begin() -> None:
    lifecycle = Lifecycle()
    stored = []

    async def agent() -> None:
        for number in range(2):
            async with lifecycle.storing["ledger"]:
                await asyncio.sleep(0.05)
                stored.append(number)

    task = asyncio.create_task(agent())
    await asyncio.sleep(0.01)
    await lifecycle.finish(10)
    await asyncio.sleep(0.1)
    assert stored == [0]
    task.cancel()


async def test_stopping_does_not_wait_for_ever() -> None:
    lifecycle = Lifecycle()
    await lifecycle.storing["ledger"].acquire()
    await lifecycle.finish(0.01)
    assert lifecycle.stopping


async def test_only_servers_that_are_away_are_waited_for() -> None:
    health, tries = Health(), []

    async def away_twice() -> str:
        tries.append(dict(health.failing))
        if len(tries) < 3:
            raise ConnectionRefusedError("nobody there")
        return "done"

    async def mistaken() -> None:
        raise KeyError("a mistake of ours")

    assert await persist("effect", away_twice, health) == "done"
    assert "nobody there" in tries[2]["effect"]
    assert health.failing == {}
    with pytest.raises(KeyError):
        await persist("effect", mistaken, health)


def test_credentials() -> None:
    sasl = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "me", "kafka_sasl_password": "secret"}
    settings = load(StreamSettings, kafka_sasl_mechanism="SCRAM-SHA-512", **sasl)
    options = kafka.client_options(settings)
    assert (options["sasl_mechanism"], options["sasl_plain_password"]) == ("SCRAM-SHA-512", "secret")
    assert options["ssl_context"].check_hostname
    found: Any = kafka.credentials(settings)
    assert (found.protocol.value, found.mechanism.value, found.password) == ("SASL_SSL", "SCRAM-SHA-512", "secret")
    assert kafka.credentials(load(StreamSettings)) is None
    assert kafka.client_options(load(StreamSettings))["security_protocol"] == "PLAINTEXT"


@pytest.mark.parametrize(
    ("name", "value"), [("stream_admin", "nowhere"), ("stream_batch_seconds", 0), ("stream_horizon_days", 0)]
)
def test_wrong_settings_are_named(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"WEIGHBRIDGE_{name.upper()}"):
        load(StreamSettings, **{name: value})
