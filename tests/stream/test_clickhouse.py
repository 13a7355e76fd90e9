from datetime import timedelta

from stream import rows as row
from stream.clickhouse import ClickHouse
from stream.windows import touched
from tests.stream.conftest import rows
from tests.stream.factory import NOON, Producer


async def test_round_trip(clickhouse: ClickHouse) -> None:
    p = Producer()
    batch = [p.usage(tenant=t, output_tokens=o) for t in ("ten_a", "t'\\n\u00e9%(x)s") for o in (5, None)]
    await clickhouse.insert("usage_events", row.request_rows(batch, NOON, NOON))
    await clickhouse.insert("usage_events", row.request_rows(batch, NOON, NOON + timedelta(seconds=1)))
    print(await rows(clickhouse, "select * from usage"))
    await clickhouse.roll_up(touched(batch))
    print(await rows(clickhouse, "select * from usage_minute"))
    print(await clickhouse.exclude_conflicts("usage", touched(batch), NOON))
    await clickhouse.write_ranges("w", {("p", "e"): ((1, 2), (4, 5))}, NOON)
    print(await clickhouse.ranges([("p", "e"), ("q", "'")]))
    print(await rows(clickhouse, "select * from producers"))
    raise SystemExit
