"""Price books: created, immutable once in force, ended, chosen by tenant and time; quotes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_api.prices.catalogue import Book, Catalogue
from tests.billing_api.conftest import Api

PRICE = {"model": "*", "meter": "input_tokens", "pricing": "flat", "per": 1_000_000, "price": "0.50"}
BOOK = {"name": "2026", "currency": "EUR", "effective_from": "2026-11-01T00:00:00Z", "prices": [PRICE]}


async def test_a_book_keeps_its_prices_as_they_were_written(api: Api) -> None:
    made = await api.post("/v1/price-books", BOOK)
    assert made["id"].startswith("pb_")
    assert (made["tenant"], made["effective_to"], made["effective_from"]) == (None, None, "2026-11-01T00:00:00Z")
    (price,) = made["prices"]
    assert price["id"].startswith("price_")
    assert (price["price"], price["per"], price["pricing"]) == ("0.50", 1_000_000, "flat")
    assert await api.get(f"/v1/price-books/{made['id']}") == made
    assert await api.get("/v1/price-books") == {"data": [made], "next_cursor": None}
    assert (await api.get("/v1/price-books", currency="USD"))["data"] == []
    assert (await api.get(f"/v1/price-books/{made['id']}/prices"))["data"] == made["prices"]


@pytest.mark.parametrize(
    "changes",
    [
        {"prices": []},
        {"prices": [PRICE, PRICE]},
        {"prices": [{**PRICE, "price": 0.5}]},
        {"prices": [{**PRICE, "price": 1}]},
        {"prices": [{**PRICE, "price": "-0.5"}]},
        {"prices": [{**PRICE, "price": "1e-6"}]},
        {"prices": [{**PRICE, "price": "NaN"}]},
        {"prices": [{**PRICE, "price": "0.123456789012345678901"}]},
        {"prices": [{**PRICE, "per": 1024}]},
        {"prices": [{**PRICE, "per": 1e6}]},
        {"prices": [{**PRICE, "per": 0}]},
        {"prices": [{**PRICE, "meter": "gpu_seconds"}]},
        {"prices": [{**PRICE, "tiers": []}]},
        {"currency": "eur"},
        {"effective_from": "2026-11-01"},
        {"effective_to": "2026-11-01T00:00:00Z"},
        {"effective_to": "2026-10-01T00:00:00Z"},
        {"colour": "red"},
    ],
)
async def test_bad_books_are_refused(api: Api, changes: dict[str, Any]) -> None:
    assert (await api.post("/v1/price-books", {**BOOK, **changes}, 422))["code"] == "invalid_request"
    assert (await api.get("/v1/price-books"))["data"] == []


@pytest.mark.parametrize("pricing", ["graduated", "volume", "package", 7])
async def test_only_flat_prices_are_taken_so_far_and_that_is_said(api: Api, pricing: Any) -> None:
    tiers = [{"up_to": None, "price": "1.20"}]
    price = {"model": "llama", "meter": "output_tokens", "pricing": pricing, "per": 1_000_000, "tiers": tiers}
    problem = await api.post("/v1/price-books", {**BOOK, "prices": [price]}, 422)
    assert "only `flat` pricing" in problem["detail"]


async def test_a_book_for_a_tenant_is_in_its_currency(api: Api) -> None:
    tenant = await api.tenant(currency="USD")
    assert (await api.post("/v1/price-books", {**BOOK, "tenant": tenant}, 422))["code"] == "wrong_currency"
    assert (await api.post("/v1/price-books", {**BOOK, "tenant": "ten_0"}, 422))["code"] == "unknown_tenant"
    made = await api.post("/v1/price-books", {**BOOK, "currency": "USD", "tenant": tenant})
    assert (await api.get("/v1/price-books", tenant=tenant))["data"] == [made]


async def test_two_books_of_a_scope_do_not_come_into_force_at_once(api: Api) -> None:
    made = await api.post("/v1/price-books", BOOK)
    problem = await api.post("/v1/price-books", BOOK, 409)
    assert (problem["code"], problem["id"]) == ("price_book_exists", made["id"])
    await api.post("/v1/price-books", {**BOOK, "currency": "USD"})
    await api.post("/v1/price-books", {**BOOK, "tenant": await api.tenant()})


async def test_a_book_in_force_takes_no_prices(api: Api) -> None:
    made = await api.post("/v1/price-books", BOOK)
    added = {**PRICE, "meter": "output_tokens"}
    problem = await api.post(f"/v1/price-books/{made['id']}/prices", added, 409)
    assert problem["code"] == "price_book_effective"
    future = await api.post("/v1/price-books", {**BOOK, "effective_from": "2026-12-01T00:00:00Z"})
    assert (await api.post(f"/v1/price-books/{future['id']}/prices", added))["meter"] == "output_tokens"
    assert (await api.post(f"/v1/price-books/{future['id']}/prices", added, 409))["code"] == "price_exists"
    assert len((await api.get(f"/v1/price-books/{future['id']}"))["prices"]) == 2
    assert (await api.post("/v1/price-books/pb_0/prices", added, 404))["code"] == "not_found"


async def test_the_end_of_a_book_moves_only_in_the_future(api: Api) -> None:
    path = f"/v1/price-books/{(await api.post('/v1/price-books', BOOK))['id']}"
    past = {"effective_to": "2026-11-21T11:59:59Z"}
    assert (await api.patch(path, past, 422))["code"] == "invalid_effective_to"
    ended = await api.patch(path, {"name": "old", "effective_to": "2026-11-21T12:00:00Z"})
    assert (ended["name"], ended["effective_to"]) == ("old", "2026-11-21T12:00:00Z")
    assert (await api.patch(path, {"effective_to": None}, 409))["code"] == "price_book_ended"
    assert (await api.patch(path, {"prices": []}, 422))["code"] == "invalid_request"
    future = await api.post("/v1/price-books", {**BOOK, "effective_from": "2026-12-01T00:00:00Z"})
    early = {"effective_to": "2026-11-30T00:00:00Z"}
    assert (await api.patch(f"/v1/price-books/{future['id']}", early, 422))["code"] == "invalid_effective_to"
    withdrawn = {"effective_to": "2026-12-01T00:00:00Z"}
    await api.patch(f"/v1/price-books/{future['id']}", withdrawn)
    assert (await api.get("/v1/price-books/pb_0", 404))["code"] == "not_found"


async def test_a_quote_prices_parts_instead_of_their_whole(api: Api) -> None:
    tenant = await api.tenant()
    cached = {**PRICE, "meter": "cache_read_input_tokens", "price": "0.05"}
    book = await api.post("/v1/price-books", {**BOOK, "prices": [PRICE, cached]})
    usage = [{"model": "llama", "input_tokens": 3_000_000, "cache_read_input_tokens": 1_000_000, "output_tokens": 7}]
    quote = await api.post("/v1/price-books/quote", {"tenant": tenant, "usage": usage}, 200)
    lines = {line["meter"]: line for line in quote["lines"]}
    assert lines["input_tokens"] == {
        "model": "llama",
        "meter": "input_tokens",
        "quantity": 2_000_000,
        "unit_price": "0.0000005",
        "price": "0.50",
        "per": 1_000_000,
        "amount": "1.00",
        "precise_amount": "1",
        "price_id": book["prices"][0]["id"],
    }
    assert lines["cache_read_input_tokens"]["amount"] == "0.05"
    assert quote["unpriced"] == [{"model": "llama", "meter": "output_tokens", "quantity": 7}]
    assert (quote["subtotal"], quote["tax"], quote["total"]) == ("1.05", None, "1.05")
    assert (quote["currency"], quote["price_book"]) == ("EUR", book["id"])
    by_book = await api.post("/v1/price-books/quote", {"price_book": book["id"], "usage": usage}, 200)
    assert by_book == quote
    before = {"tenant": tenant, "at": "2026-10-01T00:00:00Z", "usage": usage}
    earlier = await api.post("/v1/price-books/quote", before, 200)
    assert (earlier["price_book"], earlier["lines"], earlier["total"]) == (None, [], "0.00")


@pytest.mark.parametrize(
    ("changes", "code", "status"),
    [
        ({"usage": []}, "invalid_request", 422),
        ({"usage": [{"model": "a"}, {"model": "a"}]}, "invalid_request", 422),
        ({"usage": [{"model": "a", "input_tokens": 1.0}]}, "invalid_request", 422),
        ({"usage": [{"model": "a", "input_tokens": -1}]}, "invalid_request", 422),
        ({"price_book": "pb_0"}, "invalid_request", 422),
        ({"tenant": None}, "invalid_request", 422),
        ({"tenant": "ten_0"}, "not_found", 404),
        ({"tenant": None, "price_book": "pb_0"}, "not_found", 404),
        ({"tenant": None, "price_book": "pb_0", "at": "2026-10-01T00:00:00Z"}, "invalid_request", 422),
    ],
)
async def test_bad_quotes_are_refused(api: Api, changes: dict[str, Any], code: str, status: int) -> None:
    body = {"tenant": await api.tenant(), "usage": [{"model": "a"}], **changes}
    assert (await api.post("/v1/price-books/quote", body, status))["code"] == code


async def test_parts_larger_than_their_whole_are_refused(api: Api) -> None:
    tenant = await api.tenant()
    await api.post("/v1/price-books", {**BOOK, "prices": [PRICE, {**PRICE, "meter": "cache_read_input_tokens"}]})
    usage = [{"model": "a", "input_tokens": 1, "cache_read_input_tokens": 2}]
    problem = await api.post("/v1/price-books/quote", {"tenant": tenant, "usage": usage}, 422)
    assert problem["code"] == "invalid_amount"


async def test_a_quote_is_repeated_under_its_idempotency_key(api: Api) -> None:
    body = {"tenant": await api.tenant(), "usage": [{"model": "a", "input_tokens": 1}]}
    first = await api.post("/v1/price-books/quote", body, 200, headers={"Idempotency-Key": "q"})
    await api.post("/v1/price-books", BOOK)
    assert await api.post("/v1/price-books/quote", body, 200, headers={"Idempotency-Key": "q"}) == first
    assert (await api.post("/v1/price-books/quote", body, 200))["price_book"] is not None


ZERO = datetime(2026, 1, 1, tzinfo=UTC)
hours = st.integers(0, 6).map(lambda number: ZERO + timedelta(hours=number))
lengths = st.none() | st.integers(1, 6).map(lambda number: timedelta(hours=number))


@st.composite
def books(draw: st.DrawFn) -> Book:
    start, length = draw(hours), draw(lengths)
    name, currency = str(draw(st.integers(0, 10**6))), draw(st.sampled_from(["EUR", "EUR", "USD"]))
    return Book(
        name, currency, draw(st.sampled_from([None, "a"])), start, None if length is None else start + length, ()
    )


def test_a_tenants_older_book_goes_before_a_newer_general_one() -> None:
    mine = Book("pb_1", "EUR", "a", ZERO, None, ())
    general = Book("pb_2", "EUR", None, ZERO + timedelta(hours=1), None, ())
    catalogue, later = Catalogue((mine, general)), ZERO + timedelta(hours=2)
    assert catalogue.book("a", "EUR", later) == mine
    assert catalogue.book("b", "EUR", later) == general
    assert catalogue.book("b", "EUR", ZERO) is None
    assert catalogue.book("a", "USD", later) is None


@given(st.lists(books(), max_size=8), st.sampled_from(["a", "b"]), hours, st.integers(1, 8))
def test_between_two_cuts_the_same_book_applies(found: list[Book], tenant: str, start: datetime, length: int) -> None:
    catalogue, end = Catalogue(tuple(found)), start + timedelta(hours=length)
    cuts = catalogue.cuts(start, end)
    assert cuts == sorted(set(cuts))
    assert cuts[0] == start
    assert all(start <= cut < end for cut in cuts)
    for first, last in zip(cuts, [*cuts[1:], end], strict=True):
        chosen = {catalogue.book(tenant, "EUR", first + (last - first) * part / 4) for part in range(4)}
        assert len(chosen) == 1
        book = chosen.pop()
        candidates = [
            one for one in found if one.covers(first) and one.currency == "EUR" and one.tenant in {None, tenant}
        ]
        assert (book is None) == (not candidates)
        if book is not None:
            assert book.tenant == tenant or all(one.tenant is None for one in candidates)
            assert all(one.start <= book.start for one in candidates if one.tenant == book.tenant)
