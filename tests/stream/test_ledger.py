"""The ledger on a real engine: totals are right whatever is delivered, how often, in which order and by whom."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contracts import events, topics
from contracts.events import Event
from stream import rows as row
from stream.clickhouse import ClickHouse
from stream.decode import Record
from stream.ledger import SLICE_BYTES, slices
from stream.windows import Window, touched
from tests.stream.conftest import ClickHouseServer, empty, rows
from tests.stream.factory import NOON, Producer, record
from tests.stream.ledgers import Driver, Remembered, views

MINUTE = timedelta(minutes=1)


def fleet() -> list[Event[Any]]:
    """Events of two proxies and three tenants over some minutes and two days, with every kind of gap in what is reported."""
    one, two = Producer("proxy-1", "a"), Producer("proxy-2", "b")
    made: list[Event[Any]] = []
    for number in range(8):
        at = NOON - timedelta(hours=7 * (number % 4), seconds=number * 20)
        made += [
            one.request(tenant="ten_a", at=at),
            one.usage(tenant="ten_a", at=at, model=("llama", "qwen", None)[number % 3], input_tokens=number),
            two.usage(tenant="ten_b", at=at, input_tokens=None, output_tokens=None, accuracy="unknown"),
            two.usage(tenant="ten_c", at=at, outcome="proxy_lost", accuracy="estimated", team=None, user=None),
            two.usage(tenant="ten_c", at=at, hop="prefill", parent_request_id="req-root"),
            two.request(tenant="ten_b", at=at, admitted_at=None, decision="denied", code="rate_limit_exceeded"),
        ]
    return made


FLEET = fleet()


def expected() -> Counter[tuple[str, str]]:
    """Count requests by tenant and minute in plain Python."""
    return Counter(
        (event.data.tenant, event.data.admitted_at.strftime("%d %H:%M"))
        for event in FLEET
        if event.type == topics.USAGE and event.data.hop == "root"
    )


async def test_figures_are_those_of_the_events(clickhouse: ClickHouse) -> None:
    await Driver(clickhouse).store(*(record(event) for event in FLEET))
    minutes = await rows(
        clickhouse, "SELECT tenant, formatDateTime(bucket, '%d %H:%i'), sum(requests) FROM usage_minute GROUP BY ALL"
    )
    assert {(tenant, minute): count for tenant, minute, count in minutes} == expected()
    sums = await rows(
        clickhouse,
        "SELECT tenant, sum(requests), sum(input_tokens), sum(output_tokens), sum(cache_read_input_tokens),"
        " sum(estimated_requests) FROM {} GROUP BY tenant ORDER BY tenant".format("usage_day"),
    )
    assert sums == [("ten_a", 8, 28, 40, None, 0), ("ten_b", 8, None, None, None, 0), ("ten_c", 8, 80, 40, None, 8)]
    assert await rows(clickhouse, "SELECT count() FROM usage") == [(32,)]
    assert await rows(clickhouse, "SELECT decision, count() FROM requests GROUP BY ALL ORDER BY ALL") == [
        ("admitted", 8),
        ("denied", 8),
    ]


async def test_what_would_have_been_denied_is_stored_with_its_reason_and_its_usage(clickhouse: ClickHouse) -> None:
    one = Producer("proxy-1", "a")
    common: dict[str, Any] = {"tenant": events.UNASSIGNED, "team": None, "user": None, "key": None}
    doubted: dict[str, Any] = {**common, "decision": "would_deny", "code": "invalid_api_key", "reason": "No."}
    made: list[Event[Any]] = [
        one.request(**doubted),
        one.usage(**common, input_tokens=3),
        one.request(**doubted, admitted_at=None),
    ]
    await Driver(clickhouse).store(*(record(event) for event in made))
    found = await rows(
        clickhouse, "SELECT tenant, decision, code, reason, isNull(admitted_at) FROM requests ORDER BY 5"
    )
    assert found == [("unassigned", "would_deny", "invalid_api_key", "No.", missing) for missing in (0, 1)]
    assert await rows(clickhouse, "SELECT tenant, requests, input_tokens FROM usage_minute") == [("unassigned", 1, 3)]


async def test_hours_and_days_are_sums_of_minutes(clickhouse: ClickHouse) -> None:
    await Driver(clickhouse).store(*(record(event) for event in FLEET))
    for view, start in (("usage_hour", "toStartOfHour"), ("usage_day", "toStartOfDay")):
        wrong = await rows(
            clickhouse,
            f"SELECT * FROM (SELECT tenant, {start}(bucket) AS b, sum(requests) AS r, sum(output_tokens) AS o"
            f" FROM usage_minute GROUP BY tenant, b) AS m FULL JOIN (SELECT tenant, bucket AS b, sum(requests) AS r,"
            f" sum(output_tokens) AS o FROM {view} GROUP BY tenant, b) AS v ON m.tenant = v.tenant AND m.b = v.b"
            " WHERE NOT (m.r <=> v.r AND m.o <=> v.o)",
        )
        assert wrong == []


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_interleaving_duplication_and_order_change_nothing(
    clickhouse_server: ClickHouseServer, prepared: None, data: st.DataObject
) -> None:
    deliveries = data.draw(st.permutations([*FLEET, *data.draw(st.lists(st.sampled_from(FLEET), max_size=20))]))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(deliveries)), max_size=5)))
    batches = [deliveries[a:b] for a, b in zip([0, *cuts], [*cuts, len(deliveries)], strict=True)]
    workers = data.draw(st.lists(st.integers(0, 2), min_size=len(batches), max_size=len(batches)))

    async def run() -> tuple[Any, Any, dict[Any, int]]:
        store = await ClickHouse.connect(clickhouse_server.url)
        await empty(store)
        await Driver(store).store(*(record(event) for event in FLEET))
        once = await views(store)
        await empty(store)
        published = Remembered()
        drivers = [Driver(store, f"writer-{number}", published) for number in range(3)]
        for worker, batch in zip(workers, batches, strict=True):
            await drivers[worker].store(*(record(event) for event in batch))
        shuffled = await views(store)
        await store.close()
        return once, shuffled, published.acked()

    once, shuffled, acked = asyncio.run(run())
    assert shuffled == once
    assert acked == {("proxy-1", "a"): 16, ("proxy-2", "b"): 32}


@pytest.fixture
async def prepared(clickhouse: ClickHouse) -> None:
    """The schema is there."""


async def test_stored_at_never_moves(clickhouse: ClickHouse) -> None:
    driver = Driver(clickhouse)
    await driver.store(record(*FLEET[1:2]))
    driver.now = NOON + MINUTE
    await driver.store(record(*FLEET[1:2]))
    await clickhouse._client.command("OPTIMIZE TABLE usage_events FINAL")
    ((stored, ingested, event_time),) = await rows(clickhouse, "SELECT stored_at, ingested_at, event_time FROM usage")
    assert (stored, ingested) == (NOON.replace(tzinfo=None),) * 2
    assert event_time == FLEET[1].data.admitted_at.replace(tzinfo=None)


async def test_a_late_event_moves_its_window_and_no_other(clickhouse: ClickHouse) -> None:
    driver, producer = Driver(clickhouse), Producer()
    await driver.store(record(producer.usage(), producer.usage(at=NOON - MINUTE)))
    driver.now = NOON + timedelta(days=20)
    await driver.store(record(producer.usage(at=NOON - MINUTE, team=None)))
    found = await rows(clickhouse, "SELECT bucket, sum(requests) FROM usage_minute GROUP BY ALL ORDER BY ALL")
    assert [count for _, count in found] == [2, 1]


async def test_a_writer_that_saw_less_loses(clickhouse: ClickHouse) -> None:
    producer = Producer()
    await Driver(clickhouse).store(record(producer.usage(), producer.usage()))
    zombie = (
        "INSERT INTO usage_windows SELECT tenant, minute, 1, arrayMap(g -> (g.1, g.2, g.3, g.4, g.5, g.6, g.7,"
        " 1, 10, NULL, NULL, 5, NULL, 0), groups) FROM usage_windows FINAL"
    )
    await clickhouse._client.command(zombie)
    assert await rows(clickhouse, "SELECT count() FROM usage_windows") == [(2,)]
    await clickhouse._client.command("OPTIMIZE TABLE usage_windows FINAL")
    assert await rows(clickhouse, "SELECT requests, input_tokens FROM usage_minute") == [(2, 20)]


async def test_a_group_that_vanishes_leaves_its_window(clickhouse: ClickHouse) -> None:
    driver, producer = Driver(clickhouse), Producer()
    first = producer.usage(model="wrong")
    await driver.store(record(first, producer.usage(model="right")))
    await clickhouse._client.command(
        "INSERT INTO excluded_events SELECT 'usage', tenant, toStartOfMinute(event_time), source, id, content_hash,"
        " 'conflict', now() FROM usage WHERE model = 'wrong'"
    )
    await clickhouse.roll_up(touched([first]))
    assert await rows(clickhouse, "SELECT model, requests FROM usage_minute") == [("right", 1)]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("kind", ["usage", "request"])
async def test_the_same_id_with_another_content_counts_once(clickhouse: ClickHouse, kind: str, together: bool) -> None:
    driver, make = Driver(clickhouse), getattr(Producer(), kind)
    first = make(model="llama")
    other = make(model="qwen", sequence=1)
    assert (first.id, first.source) == (other.id, other.source)
    if together:
        await driver.store(record(first, other))
    else:
        await driver.store(record(first))
        driver.now += MINUTE
        await driver.store(record(other))
        await driver.store(record(first), record(other))
    view = "usage" if kind == "usage" else "requests"
    counted = await rows(clickhouse, f"SELECT model FROM {view}")
    assert counted in ([("llama",)], [("qwen",)])
    assert together or counted == [("llama",)]
    assert await rows(clickhouse, "SELECT kind, id FROM conflicts") == [(kind, first.id)]
    if kind == "usage":
        assert await rows(clickhouse, "SELECT model, requests FROM usage_minute") == [(*counted[0], 1)]


async def test_dead_letters_are_kept_told_and_accounted_for(clickhouse: ClickHouse) -> None:
    driver, producer = Driver(clickhouse), Producer()
    good = producer.usage()
    bad = msgspec.json.decode(events.encode(producer.usage()))
    bad["data"]["input_tokens"] = -4
    letter = msgspec.json.encode(bad)
    batch = Record(topics.USAGE, 2, 41, events.join([letter, events.encode(good)]))
    garbage = Record(topics.USAGE, 2, 42, b"\xff\x00 no JSON" + b"x" * 300_000)
    for _ in range(2):
        await driver.store(batch, garbage)
    assert await rows(clickhouse, "SELECT offset, reason FROM dead_letters FINAL ORDER BY offset") == [
        (41, "invalid"),
        (42, "broken_json"),
    ]
    told = driver.published.data(topics.DEADLETTER)
    assert [(one["offset"], one["reason"]) for one in told] == [(41, "invalid"), (42, "broken_json")] * 2
    assert len({msgspec.json.decode(m.value)["id"] for m in driver.published.messages if "dead" in m.topic}) == 2
    assert max(len(message.value) for message in driver.published.messages) < 512 * 1024
    assert driver.published.acked() == {("proxy-1", "epoch-1"): 2}
    assert await rows(clickhouse, "SELECT sum(requests), sum(input_tokens) FROM usage_minute") == [(1, 10)]


async def test_acknowledges_what_is_contiguous_over_all_workers(clickhouse: ClickHouse) -> None:
    producer = Producer()
    made = [producer.usage() for _ in range(5)]
    one, two = Driver(clickhouse, "one"), Driver(clickhouse, "two")
    await one.store(record(made[0], made[3]))
    assert one.published.acked() == {("proxy-1", "epoch-1"): 1}
    await two.store(record(made[1]))
    assert two.published.acked() == {("proxy-1", "epoch-1"): 2}
    gaps = "SELECT contiguous, highest, missing, arrayMap(g -> (g.first, g.last), gaps) FROM producers"
    assert await rows(clickhouse, gaps) == [(2, 4, 1, [(3, 3)])]
    await one.store(record(made[4], made[2]))
    assert one.published.acked() == {("proxy-1", "epoch-1"): 5}
    await two.store(record(made[1]))
    assert two.published.acked() == {("proxy-1", "epoch-1"): 5}
    assert await rows(clickhouse, gaps) == [(5, 5, 0, [])]


async def test_waits_in_place_for_a_broker_that_is_away(clickhouse: ClickHouse) -> None:
    driver = Driver(clickhouse, publisher=Remembered(failures=2))
    await driver.store(record(Producer().usage()))
    assert driver.published.acked() == {("proxy-1", "epoch-1"): 1}
    assert driver.health.failing == {}


async def test_tells_which_windows_changed(clickhouse: ClickHouse) -> None:
    driver, producer = Driver(clickhouse), Producer()
    await driver.store(record(producer.usage(), producer.usage(tenant="ten_b")), record(producer.request()))
    assert driver.touched == [Window("ten_a", NOON), Window("ten_b", NOON)]


async def test_nothing_is_lost_to_strange_text(clickhouse: ClickHouse) -> None:
    producer = Producer()
    strange = ["t'\\\n\"%(windows)s {x:String}", "\x00\x01", "ünï☃💥", "ten); DROP TABLE usage_events; --", "a" * 512]
    made = [
        producer.usage(tenant=text, model=text, end_user=text, tags={text: text, "": ""}, user_agent=text)
        for text in strange
    ]
    await Driver(clickhouse).store(record(*made))
    assert sorted(await rows(clickhouse, "SELECT tenant, tags FROM usage")) == sorted(
        (text, {text: text, "": ""}) for text in strange
    )
    assert sorted(await rows(clickhouse, "SELECT tenant, model, requests FROM usage_minute")) == sorted(
        (text, text, 1) for text in strange
    )


async def test_many_windows_in_one_batch(clickhouse: ClickHouse) -> None:
    producer = Producer()
    made = [producer.usage(tenant=f"ten_{n % 7}", at=NOON - n * MINUTE) for n in range(1200)]
    await Driver(clickhouse).store(record(*made))
    assert await rows(clickhouse, "SELECT count(), sum(requests) FROM usage_minute") == [(1200, 1200)]


async def test_every_reported_field_is_a_column(clickhouse: ClickHouse) -> None:
    for event, view in ((Producer().usage(), "usage"), (Producer().request(), "requests")):
        columns = {name for (name, *_) in await rows(clickhouse, f"DESCRIBE {view}")}
        assert set(event.data.__struct_fields__) <= columns
        assert {"id", "source", "event_time", "ingested_at", "stored_at", "billed_cost", "currency"} <= columns


def test_a_row_is_the_same_for_the_same_event_only() -> None:
    event = Producer().usage()
    again = msgspec.json.decode(events.encode(event), type=topics.event_type(topics.USAGE))
    other = Producer().usage(output_tokens=6)
    assert row.request_rows([event], NOON, NOON) == row.request_rows([again, event], NOON, NOON)
    assert row.request_rows([event, other], NOON, NOON).count(b"\n") == 1


def test_slices_keep_order_and_size() -> None:
    records = [Record(topics.USAGE, 0, offset, b"x" * (SLICE_BYTES // 3)) for offset in range(7)]
    parts = list(slices(records))
    assert [record.offset for part in parts for record in part] == list(range(7))
    assert [len(part) for part in parts] == [3, 3, 1]
    giant = Record(topics.USAGE, 0, 0, b"x" * (SLICE_BYTES + 1))
    assert list(slices([giant, giant])) == [[giant], [giant]]
