"""Every query, as Grafana would send it, against a ClickHouse with known traffic in it: the figures must be right."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from contracts import tables
from dashboards import check, queries
from dashboards.queries import Sql
from tests.grafana import Dashboard
from tests.known_traffic import MINUTES

Row = dict[str, Any]


def ask(client: Client, query: Sql, start: datetime, chosen: Mapping[str, Sequence[str]] | None = None) -> list[Row]:
    """Return the rows of a query over all the traffic, in intervals of a minute."""
    reader = Dashboard(start, start + timedelta(minutes=MINUTES), interval=60, chosen=chosen or {})
    return list(client.query(reader.expand(query.text)).named_results())


@pytest.mark.parametrize("query", queries.ALL, ids=lambda query: query.name)
def test_gives_rows_that_a_panel_can_draw(clickhouse: Client, start: datetime, query: Sql) -> None:
    rows = ask(clickhouse, query, start)
    assert rows
    if query.series:
        times = [row["time"].replace(tzinfo=UTC) for row in rows]
        assert times == sorted(times), "the plugin needs rows in the order of time"
        assert set(times) == {start + timedelta(minutes=minute) for minute in range(MINUTES)}
        assert any(isinstance(value, int | float) for row in rows for value in row.values()), "a series needs figures"


def each_minute(rows: list[Row], **expected: Any) -> None:
    found = [row for row in rows if all(row[name] == value for name, value in expected.items())]
    assert len(found) == MINUTES, rows[:4]


def test_rates_are_a_second(clickhouse: Client, start: datetime) -> None:
    by_model = ask(clickhouse, queries.REQUESTS_BY_MODEL, start)
    each_minute(by_model, model_name="llama", per_second=6 / 60)
    each_minute(by_model, model_name="qwen", per_second=1 / 60)
    each_minute(by_model, model_name="(none)", per_second=1 / 60)
    by_tenant = ask(clickhouse, queries.REQUESTS_BY_TENANT, start)
    each_minute(by_tenant, tenant="acme", per_second=6 / 60)
    each_minute(by_tenant, tenant="o'neil", per_second=2 / 60)


def test_tokens_that_nobody_reported_are_not_zero(clickhouse: Client, start: datetime) -> None:
    by_tenant = ask(clickhouse, queries.TOKENS_BY_TENANT, start)
    each_minute(by_tenant, tenant="acme", per_second=6 * 30 / 60)
    each_minute(by_tenant, tenant="o'neil", per_second=None)
    each_minute(ask(clickhouse, queries.TOKENS_BY_MODEL, start), model_name="llama", per_second=3.0)


def test_latency_is_of_those_that_ended(clickhouse: Client, start: datetime) -> None:
    each_minute(ask(clickhouse, queries.DURATION, start), p50=2.0)
    each_minute(ask(clickhouse, queries.DURATION_BY_TENANT, start), tenant="o'neil", p95=4.0)
    each_minute(ask(clickhouse, queries.DURATION_BY_MODEL, start), model_name="(none)", p95=None)
    each_minute(ask(clickhouse, queries.FIRST_TOKEN, start), p50=0.5, p95=0.5, p99=0.5)
    each_minute(ask(clickhouse, queries.FIRST_TOKEN_BY_TENANT, start), tenant="acme", p95=0.5)
    each_minute(ask(clickhouse, queries.FIRST_TOKEN_BY_MODEL, start), model_name="qwen", p95=None)


def test_errors_are_named_by_code_or_outcome(clickhouse: Client, start: datetime) -> None:
    rows = ask(clickhouse, queries.ERRORS_BY_CODE, start)
    assert {row["error"] for row in rows} == {"client_closed", "upstream_unreachable", "invalid_api_key"}
    for error in ("client_closed", "upstream_unreachable", "invalid_api_key"):
        each_minute(rows, error=error, requests=1)


def test_denials_and_what_a_shadow_limit_would_deny(clickhouse: Client, start: datetime) -> None:
    rows = ask(clickhouse, queries.DENIED_BY_TENANT, start)
    each_minute(rows, tenant="unassigned", denied=1, would_deny=0)
    each_minute(rows, tenant="o'neil", denied=0, would_deny=1)


def test_load(clickhouse: Client, start: datetime) -> None:
    each_minute(ask(clickhouse, queries.LOAD_BY_MODEL, start), model="llama", in_flight=5, waiting=3)
    rows = ask(clickhouse, queries.CONCURRENCY_BY_TENANT, start)
    each_minute(rows, tenant="acme", per_second=6 * 2 / 60)


def test_ledger_delay_counts_from_the_last_byte(clickhouse: Client, start: datetime) -> None:
    each_minute(ask(clickhouse, queries.LEDGER_DELAY, start), longest=10.0)  # the failed one has no last byte
    rows = ask(clickhouse, queries.LEDGER_DELAY, start, {"tenant": ["acme"]})
    each_minute(rows, p95=8.0, longest=8.0)


def test_tenants_table_adds_up_and_keeps_the_unknown(clickhouse: Client, start: datetime) -> None:
    rows = ask(clickhouse, queries.TOP_TENANTS, start)
    assert rows[0] == {
        "tenant": "acme", "model": "llama", "requests": 60, "input_tokens": 600, "output_tokens": 1200,
        "estimated_requests": 0,
    }  # fmt: skip
    assert [(row["tenant"], row["model"], row["input_tokens"]) for row in rows[1:]] == [
        ("o'neil", "(none)", None),
        ("o'neil", "qwen", None),
    ]


def test_gaps_are_listed(clickhouse: Client, start: datetime) -> None:
    [row] = ask(clickhouse, queries.MISSING_EVENTS, start)
    assert (row["producer"], row["contiguous"], row["highest"], row["missing"]) == ("gappy", 4, 10, 2)


def test_choices_offer_what_there_is(clickhouse: Client, start: datetime) -> None:
    assert [row["tenant"] for row in ask(clickhouse, queries.TENANTS, start)] == ["acme", "o'neil"]
    assert [row["model"] for row in ask(clickhouse, queries.MODELS, start)] == ["llama", "qwen"]


@pytest.mark.parametrize(
    "query", [query for query in queries.ALL if "$tenant" in query.text], ids=lambda query: query.name
)
def test_a_chosen_tenant_with_a_quote_in_its_name(clickhouse: Client, start: datetime, query: Sql) -> None:
    rows = ask(clickhouse, query, start, {"tenant": ["o'neil"], "model": ["qwen"]})
    assert rows
    assert {row.get("tenant", "o'neil") for row in rows} == {"o'neil"}
    assert ask(clickhouse, query, start, {"tenant": ["nobody"]}) == []


def test_times_outside_the_range_are_left_out(clickhouse: Client, start: datetime) -> None:
    later = start + timedelta(days=1)
    timed = [query for query in queries.ALL if "$__timeFilter" in query.text]
    assert len(timed) == len(queries.ALL) - 1
    for query in timed:
        assert ask(clickhouse, query, later) == [], query.name


@pytest.mark.parametrize("view", check.COLUMNS)
def test_columns_that_may_be_used_exist(clickhouse: Client, view: str) -> None:
    described = clickhouse.query(f"DESCRIBE TABLE {tables.DATABASE}.{view}").named_results()
    assert check.COLUMNS[view] <= {row["name"] for row in described}
