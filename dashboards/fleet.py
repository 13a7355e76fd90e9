"""The fleet overview: what an operator looks at first, from traffic through speed and errors to the recording itself."""

from collections.abc import Iterator
from typing import Any, Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, Row
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from dashboards import datasources, live, queries
from dashboards.panels import ClickHouseTarget, figure, graph, rows

UID: Final = "weighbridge-fleet"
TITLE: Final = "Weighbridge: fleet overview"

Panels = Iterator[Builder[models.Panel]]


def build() -> models.Dashboard:
    """Return the dashboard, every panel in its place."""
    board = (
        Dashboard(TITLE)
        .uid(UID)
        .description("Requests, tokens, latency, errors and load of all vLLM servers behind Weighbridge.")
        .tags(["weighbridge"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(_choice("tenant", "Tenant", queries.TENANTS))
        .with_variable(_choice("model", "Model", queries.MODELS).all_value(".*"))
    )
    for title, panels in SECTIONS.items():
        board = board.with_row(Row(title))
        for panel in panels():
            board = board.with_panel(panel)
    return _numbered(board.build())


def _now() -> Panels:
    yield figure("Requests", live.REQUESTS, unit="reqps", about="Requests answered a second, denied ones included.")
    yield figure("Tokens", live.TOKENS, unit="short", about="Tokens metered a second, input and output.")
    yield figure("In flight", live.IN_FLIGHT, unit="short", about="Requests forwarded and not yet answered.")
    yield figure("Denied", live.DENIED, unit="reqps", about="Requests refused by the proxies a second.")
    yield figure("Ledger lag", live.LEDGER_LAG, unit="s", about="Age of the oldest event that the ledger lacks.")
    yield figure("Servers down", live.UPSTREAMS_DOWN, unit="short", about="vLLM servers that fail their health check.")


def _traffic() -> Panels:
    a_second = "A second, of admitted requests as the ledger has them."
    yield graph("Requests by outcome", [live.REQUESTS_BY_OUTCOME], unit="reqps", about="Live.", stack=True)
    yield graph("Requests by model", [queries.REQUESTS_BY_MODEL], unit="reqps", about=a_second, label="model_name")
    yield graph("Requests by tenant", [queries.REQUESTS_BY_TENANT], unit="reqps", about=a_second, label="tenant")
    yield graph("Tokens by type", [live.TOKENS_BY_TYPE], unit="short", about="Live; a second.")
    yield graph("Tokens by model", [queries.TOKENS_BY_MODEL], unit="short", about=a_second, label="model_name")
    yield graph("Tokens by tenant", [queries.TOKENS_BY_TENANT], unit="short", about=a_second, label="tenant")


def _speed() -> Panels:
    whole = "From a request's head to its last byte."
    first = "From a request's head to the first token."
    yield graph("Duration, live", live.DURATION, unit="s", about=f"{whole} All tenants.")
    yield graph("Duration", [queries.DURATION], unit="s", about=whole)
    yield graph(
        "Duration p95 by model", [queries.DURATION_BY_MODEL], unit="s", about=whole, label="model_name", width=4
    )
    yield graph("Duration p95 by tenant", [queries.DURATION_BY_TENANT], unit="s", about=whole, label="tenant", width=4)
    yield graph("Time to first token, live", live.FIRST_TOKEN, unit="s", about=f"{first} All tenants.")
    yield graph("Time to first token", [queries.FIRST_TOKEN], unit="s", about=first)
    yield graph(
        "First token p95 by model", [queries.FIRST_TOKEN_BY_MODEL], unit="s", about=first, label="model_name", width=4
    )
    yield graph(
        "First token p95 by tenant", [queries.FIRST_TOKEN_BY_TENANT], unit="s", about=first, label="tenant", width=4
    )


def _errors() -> Panels:
    yield graph(
        "Errors by code",
        [queries.ERRORS_BY_CODE],
        unit="short",
        about="Of admitted requests the error, of denied ones the code. Requests in each interval.",
        label="error",
        stack=True,
    )
    yield graph("Answers by status", [live.REQUESTS_BY_STATUS], unit="reqps", about="Live.", stack=True)
    yield graph("Denied by code", [live.DENIED_BY_CODE], unit="reqps", about="Live.", width=4, stack=True)
    yield graph(
        "Denied by tenant",
        [queries.DENIED_BY_TENANT],
        unit="short",
        about="Denied, or would have been were the limit not in shadow mode. Requests in each interval.",
        width=4,
    )


def _load() -> Panels:
    yield graph("In flight and queued", [live.IN_FLIGHT, live.QUEUED], unit="short", about="Live.", width=6)
    yield graph("In flight by proxy", [live.IN_FLIGHT_BY_PROXY], unit="short", about="Live.", width=6, stack=True)
    yield graph(
        "In flight and waiting by model",
        [queries.LOAD_BY_MODEL],
        unit="short",
        about="The most in each interval, from the scaling signals.",
        width=6,
    )
    yield graph(
        "In flight by tenant",
        [queries.CONCURRENCY_BY_TENANT],
        unit="short",
        about="On average: seconds that the requests admitted in an interval took, divided by its length.",
        label="tenant",
        width=6,
        stack=True,
    )


def _recording() -> Panels:
    yield graph("Ledger lag", [live.LEDGER_LAG_BY_PROXY], unit="s", about="Oldest event not acknowledged.", width=6)
    yield graph("Spool", [live.SPOOL], unit="bytes", about="Not acknowledged by the ledger yet.", width=6, stack=True)
    yield graph(
        "From event to ledger",
        [queries.LEDGER_DELAY],
        unit="s",
        about="From a request's last byte to its row.",
        width=6,
    )
    yield graph("Events", [live.PUBLISHED, live.CONSUMED], unit="short", about="A second, repeats included.", width=6)
    yield graph("Batches of the stream", live.BATCH, unit="s", about="From taken to ready to commit.", width=6)
    yield graph("Records that could not be read", [live.DEADLETTERS], unit="short", about="A second.", width=6)
    yield graph(
        "Redis", [live.REDIS_UP, live.PROJECTION_LAG], unit="short", about="1: answers. Lag in revisions.", width=4
    )
    yield graph("Billing API", [live.API_BY_STATUS], unit="reqps", about="Answers by status.", width=4)
    yield graph("Billing API, duration", live.API_DURATION, unit="s", about="Time to answer.", width=4)
    yield rows(
        "Events the ledger lacks", queries.MISSING_EVENTS, about="Numbered by a producer and not here; none: well."
    )


def _tenants() -> Panels:
    yield rows("Tenants and models", queries.TOP_TENANTS, about="The 50 with most requests in the chosen time.")


SECTIONS: Final = {
    "Now": _now,
    "Traffic": _traffic,
    "Speed": _speed,
    "Errors": _errors,
    "Load": _load,
    "Recording": _recording,
    "Tenants": _tenants,
}


def _choice(name: str, label: str, query: queries.Sql) -> QueryVariable:
    asked: dict[str, Any] = ClickHouseTarget(query, "A").to_json()
    return (
        QueryVariable(name)
        .label(label)
        .datasource(datasources.CLICKHOUSE)
        .query(asked)
        .multi(True)
        .include_all(True)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .current(models.VariableOption(text=["All"], value=["$__all"], selected=True))
    )


def _numbered(board: models.Dashboard) -> models.Dashboard:
    """Give every panel an id: Grafana would, and links to a panel need one that stays."""
    for number, panel in enumerate(board.panels or [], start=1):
        panel.id_val = number
    return board
