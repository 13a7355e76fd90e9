"""Invoices: previewed, drafted, final with numbers without gaps, void; what is wrong keeps them from becoming final."""

import asyncio
import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.billing_api.conftest import Api
from tests.billing_api.ledger import TestLedger

OCTOBER = {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}
PRICES = [
    {"model": "*", "meter": "input_tokens", "per": 1_000_000, "price": "0.50"},
    {"model": "*", "meter": "output_tokens", "per": 1_000_000, "price": "1.50"},
]


def october(day: int, hour: int = 12, minute: int = 0) -> datetime:
    return datetime(2026, 10, day, hour, minute, tzinfo=UTC)


async def book(api: Api, **fields: Any) -> dict[str, Any]:
    body = {"name": "b", "currency": "EUR", "effective_from": "2026-01-01T00:00:00Z", "prices": PRICES, **fields}
    return await api.post("/v1/price-books", body)


@pytest.fixture
async def billed(api: Api, ledger: TestLedger) -> str:
    """A tenant that used 2 M input and 1 M output tokens in October, with prices for them."""
    tenant = await api.tenant()
    await book(api)
    ledger.use(october(2), tenant, input_tokens=1_500_000, output_tokens=1_000_000)
    ledger.use(october(20), tenant, input_tokens=500_000, accuracy="estimated")
    return tenant


async def test_a_preview_has_the_promised_fields(api: Api, billed: str) -> None:
    preview = await api.post("/v1/invoices/preview", {"tenant": billed, **OCTOBER}, 200)
    assert {"currency", "lines", "subtotal", "tax", "total", "as_of"} <= preview.keys()
    assert (preview["subtotal"], preview["tax"], preview["total"]) == ("2.50", None, "2.50")
    assert (preview["as_of"], preview["unpriced"]) == ("2026-11-21T12:00:00Z", [])
    line = preview["lines"][0]
    assert {"model", "meter", "quantity", "unit_price", "amount", "precise_amount", "price_id"} <= line.keys()
    assert (line["model"], line["meter"], line["quantity"], line["amount"]) == (
        "llama",
        "input_tokens",
        2_000_000,
        "1.00",
    )
    assert (await api.get("/v1/invoices"))["data"] == []


async def test_only_the_root_of_a_chain_of_requests_is_billed(api: Api, ledger: TestLedger, billed: str) -> None:
    """Also of the minute that is read from the raw events, since a price begins in it."""
    await book(api, effective_from="2026-10-20T12:00:30Z", prices=PRICES)
    before = await api.post("/v1/invoices/preview", {"tenant": billed, **OCTOBER}, 200)
    for hop in ("prefill", "decode", "retry"):
        for moment in ("2026-10-10T12:00:00Z", "2026-10-20T12:00:20Z", "2026-10-20T12:00:40Z"):
            ledger.use(datetime.fromisoformat(moment), billed, model="llama", input_tokens=5_000_000, hop=hop)
    after = await api.post("/v1/invoices/preview", {"tenant": billed, **OCTOBER}, 200)
    assert (after["lines"], after["total"]) == (before["lines"], before["total"])
    ledger.use(
        datetime.fromisoformat("2026-10-20T12:00:40Z"), billed, model="llama", input_tokens=5_000_000, hop="root"
    )
    root = await api.post("/v1/invoices/preview", {"tenant": billed, **OCTOBER}, 200)
    assert root["total"] != before["total"]


async def test_a_price_that_changes_within_the_period_splits_the_usage(
    api: Api, ledger: TestLedger, billed: str
) -> None:
    changed = [{"model": "*", "meter": "input_tokens", "per": 1_000_000, "price": "5.00"}]
    later = await book(api, effective_from="2026-10-20T12:00:00Z", prices=changed)
    preview = await api.post("/v1/invoices/preview", {"tenant": billed, **OCTOBER}, 200)
    assert sorted((line["meter"], line["quantity"], line["amount"]) for line in preview["lines"]) == [
        ("input_tokens", 500_000, "2.50"),
        ("input_tokens", 1_500_000, "0.75"),
        ("output_tokens", 1_000_000, "1.50"),
    ]
    assert later["prices"][0]["id"] in {line["price_id"] for line in preview["lines"]}
    ledger.use(october(21), billed, output_tokens=9)
    again = await api.post("/v1/invoices/preview", {"tenant": billed, **OCTOBER}, 200)
    assert again["unpriced"] == [{"model": "llama", "meter": "output_tokens", "quantity": 9}]


async def test_a_month_is_the_tenants_own(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant(time_zone="Europe/Berlin")
    await book(api)
    ledger.use(datetime(2026, 9, 30, 22, tzinfo=UTC), tenant, input_tokens=1)
    ledger.use(datetime(2026, 10, 31, 22, 59, tzinfo=UTC), tenant, input_tokens=2)
    ledger.use(datetime(2026, 10, 31, 23, tzinfo=UTC), tenant, input_tokens=4)
    preview = await api.post("/v1/invoices/preview", {"tenant": tenant, "period": "2026-10"}, 200)
    assert (preview["period_from"], preview["period_to"]) == ("2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z")
    assert [line["quantity"] for line in preview["lines"]] == [3]


@pytest.mark.parametrize("path", ["/v1/invoices/preview", "/v1/invoices"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "invalid_request"),
        ({"period": "2026-13"}, "invalid_request"),
        ({"period": "26-1"}, "invalid_request"),
        ({"period": "2026-10", **OCTOBER}, "invalid_request"),
        ({"from": OCTOBER["from"]}, "invalid_request"),
        ({"from": OCTOBER["to"], "to": OCTOBER["from"]}, "invalid_request"),
        ({"from": 0, "to": 1}, "invalid_request"),
        ({**OCTOBER, "tenant": "ten_0"}, "unknown_tenant"),
        ({**OCTOBER, "colour": "red"}, "invalid_request"),
    ],
)
async def test_bad_periods_are_refused(api: Api, path: str, changes: dict[str, Any], code: str) -> None:
    assert (await api.post(path, {"tenant": await api.tenant(), **changes}, 422))["code"] == code


async def test_without_clickhouse_there_is_no_invoice(api: Api) -> None:
    body = {"tenant": await api.tenant(), **OCTOBER}
    for path in ("/v1/invoices/preview", "/v1/invoices"):
        assert (await api.post(path, body, 503))["code"] == "usage_unavailable"
    assert (await api.get("/v1/invoices"))["data"] == []


async def test_a_draft_is_calculated_anew_until_it_is_final(api: Api, ledger: TestLedger, billed: str) -> None:
    draft = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    assert (draft["status"], draft["number"], draft["total"]) == ("draft", None, "2.50")
    ledger.use(october(30), billed, input_tokens=2_000_000)
    again = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    assert (again["id"], again["total"]) == (draft["id"], "3.50")
    ledger.use(october(31), billed, input_tokens=2_000_000)
    final = await api.post(f"/v1/invoices/{draft['id']}/finalize", status=200)
    assert (final["status"], final["number"], final["total"]) == ("finalized", "INV-2026-000001", "4.50")
    assert final["finalized_at"] == "2026-11-21T12:00:00Z"
    ledger.use(october(31), billed, input_tokens=2_000_000)
    assert await api.post(f"/v1/invoices/{draft['id']}/finalize", status=200) == final
    assert await api.post("/v1/invoices", {"tenant": billed, **OCTOBER}) == final
    assert await api.get(f"/v1/invoices/{draft['id']}") == final
    listed = (await api.get("/v1/invoices", tenant=billed, status="finalized"))["data"]
    assert [row["number"] for row in listed] == ["INV-2026-000001"]
    assert "lines" not in listed[0]
    acts = [act["action"] for act in (await api.get("/v1/audit/actions", target=draft["id"]))["data"]]
    assert sorted(acts) == ["invoice.create", "invoice.finalize"]


async def test_two_invoices_never_cover_the_same_time(api: Api, billed: str) -> None:
    draft = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    half = {"from": "2026-10-15T00:00:00Z", "to": "2026-11-15T00:00:00Z"}
    problem = await api.post("/v1/invoices", {"tenant": billed, **half}, 409)
    assert (problem["code"], problem["id"]) == ("period_overlaps", draft["id"])
    await api.post(f"/v1/invoices/{draft['id']}/void", status=200)
    await api.post("/v1/invoices", {"tenant": billed, **half})


async def test_an_open_period_cannot_be_closed(api: Api, billed: str) -> None:
    november = {"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}
    draft = await api.post("/v1/invoices", {"tenant": billed, **november})
    assert (await api.post(f"/v1/invoices/{draft['id']}/finalize", {}, 409))["code"] == "period_open"


async def test_what_has_no_price_keeps_an_invoice_open(api: Api, ledger: TestLedger, billed: str) -> None:
    await book(api, effective_from="2026-10-10T00:00:00Z", prices=PRICES[1:])
    draft = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    assert draft["unpriced"] == [{"model": "llama", "meter": "input_tokens", "quantity": 500_000}]
    problem = await api.post(f"/v1/invoices/{draft['id']}/finalize", {}, 409)
    assert problem["code"] == "unpriced_usage"
    assert "input_tokens of llama" in problem["detail"]
    await book(api, effective_from="2026-10-10T00:00:00Z", tenant=billed)
    assert (await api.post(f"/v1/invoices/{draft['id']}/finalize", {}, 200))["total"] == "2.50"


async def test_known_gaps_keep_an_invoice_open_unless_accepted(api: Api, ledger: TestLedger, billed: str) -> None:
    ledger.gap(3)
    draft = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    problem = await api.post(f"/v1/invoices/{draft['id']}/finalize", status=409)
    assert (problem["code"], problem["missing_events"]) == ("usage_incomplete", 3)
    refused = await api.post(f"/v1/invoices/{draft['id']}/finalize", {"accept_missing": "yes"}, 422)
    assert refused["code"] == "invalid_request"
    await api.post(f"/v1/invoices/{draft['id']}/finalize", {"accept_missing": True}, 200)
    acts = (await api.get("/v1/audit/actions", action="invoice.finalize"))["data"]
    assert acts[0]["details"]["missing_events"] == 3


async def test_usage_that_contradicts_itself_is_not_billed(api: Api, ledger: TestLedger) -> None:
    tenant = await api.tenant()
    await book(api, prices=[*PRICES, {"model": "*", "meter": "cache_read_input_tokens", "per": 1, "price": "1"}])
    ledger.use(october(1), tenant, input_tokens=1, cache_read_input_tokens=2)
    assert (await api.post("/v1/invoices/preview", {"tenant": tenant, **OCTOBER}, 409))["code"] == "inconsistent_usage"
    window = {"from_": OCTOBER["from"], "to": OCTOBER["to"], "tenant": tenant}
    assert (await api.get("/v1/usage", **window))["data"][0]["billed_cost"] is None


async def test_a_void_invoice_keeps_its_number_and_another_takes_its_place(api: Api, billed: str) -> None:
    first = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    await api.post(f"/v1/invoices/{first['id']}/finalize", status=200)
    void = await api.post(f"/v1/invoices/{first['id']}/void", status=200)
    assert (void["status"], void["number"]) == ("void", "INV-2026-000001")
    api.clock.forward(seconds=5)
    assert await api.post(f"/v1/invoices/{first['id']}/void", status=200) == void
    assert (await api.post(f"/v1/invoices/{first['id']}/finalize", status=409))["code"] == "invoice_void"
    second = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    assert second["id"] != first["id"]
    final = await api.post(f"/v1/invoices/{second['id']}/finalize", status=200)
    assert final["number"] == "INV-2026-000002"
    for path in ("finalize", "void"):
        assert (await api.post(f"/v1/invoices/inv_0/{path}", status=404))["code"] == "not_found"


async def test_a_book_cannot_change_what_was_invoiced(api: Api, billed: str) -> None:
    draft = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    final = await api.post(f"/v1/invoices/{draft['id']}/finalize", status=200)
    late = {"name": "b", "currency": "EUR", "effective_from": "2026-10-31T00:00:00Z", "prices": PRICES}
    for fields in ({}, {"tenant": billed}):
        problem = await api.post("/v1/price-books", {**late, **fields}, 409)
        assert (problem["code"], problem["id"]) == ("period_invoiced", final["id"])
    await api.post("/v1/price-books", {**late, "tenant": await api.tenant()})
    await api.post("/v1/price-books", {**late, "effective_from": OCTOBER["to"]})
    before = {"effective_from": "2026-09-01T00:00:00Z", "effective_to": OCTOBER["from"]}
    await api.post("/v1/price-books", {**late, **before})


async def test_numbers_have_no_gaps_when_many_are_closed_at_once(api: Api, ledger: TestLedger) -> None:
    await book(api)
    drafts = []
    for number in range(8):
        tenant = await api.tenant()
        tokens = {"input_tokens": 1} if number % 4 else {"cache_creation_input_tokens": 1, "reasoning_output_tokens": 1}
        ledger.use(october(1), tenant, **tokens)
        drafts.append((await api.post("/v1/invoices", {"tenant": tenant, **OCTOBER}))["id"])
    await api.post(f"/v1/invoices/{drafts[-1]}/void", status=200)

    async def finalize(invoice: str) -> tuple[int, Any]:
        response = await api.http.post(f"/v1/invoices/{invoice}/finalize")
        return response.status_code, response.json().get("number")

    answers = await asyncio.gather(*(finalize(invoice) for invoice in drafts for _ in range(2)))
    assert {status for status, _ in answers} <= {200, 409}
    numbers = sorted({number for status, number in answers if status == 200})
    assert numbers == [f"INV-2026-{number:06d}" for number in range(1, 8)]
    api.clock.forward(days=60)
    tenant = await api.tenant()
    draft = await api.post("/v1/invoices", {"tenant": tenant, **OCTOBER})
    assert (await api.post(f"/v1/invoices/{draft['id']}/finalize", status=200))["number"] == "INV-2027-000001"


async def test_a_number_is_given_back_when_the_rest_fails(
    api: Api, billed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})

    def broken(*_arguments: Any) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr("billing_api.invoices.service.record", broken)
        await api.post(f"/v1/invoices/{draft['id']}/finalize", status=500)
    assert (await api.get(f"/v1/invoices/{draft['id']}"))["status"] == "draft"
    assert (await api.post(f"/v1/invoices/{draft['id']}/finalize", status=200))["number"] == "INV-2026-000001"


async def test_prices_that_change_meanwhile_are_noticed(api: Api, billed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    rows = api.services.ledger.rows

    async def rows_then_change(*arguments: Any) -> Any:
        found = await rows(*arguments)
        monkeypatch.undo()
        await book(api, tenant=billed, prices=PRICES)
        return found

    monkeypatch.setattr(api.services.ledger, "rows", rows_then_change)
    problem = await api.post(f"/v1/invoices/{draft['id']}/finalize", status=409)
    assert problem["code"] == "prices_changed"
    assert (await api.post(f"/v1/invoices/{draft['id']}/finalize", status=200))["number"] == "INV-2026-000001"


async def test_downloads(api: Api, ledger: TestLedger, billed: str) -> None:
    ledger.use(october(3), billed, model="=cmd|' /C calc'!A0", input_tokens=3)
    draft = await api.post("/v1/invoices", {"tenant": billed, **OCTOBER})
    assert await api.get(f"/v1/invoices/{draft['id']}.json") == draft
    response = await api.http.get(f"/v1/invoices/{draft['id']}.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [(row["meter"], row["quantity"], row["amount"]) for row in rows] == [
        ("input_tokens", "3", "0.00"),
        ("input_tokens", "2000000", "1.00"),
        ("output_tokens", "1000000", "1.50"),
    ]
    assert rows[0]["model"] == "'=cmd|' /C calc'!A0"
    assert (rows[0]["period_from"], rows[0]["precise_amount"]) == ("2026-10-01T00:00:00Z", "0.0000015")
    for suffix in ("", ".csv", ".json"):
        assert (await api.get(f"/v1/invoices/inv_0{suffix}", 404))["code"] == "not_found"
