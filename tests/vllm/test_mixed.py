"""Many requests of all kinds, a fifth of them left at a random byte: each token of the engine is billed, or it is said why not.

What the engine did is read from its own log (`engine_log.py`), whose sums must be the growth of its counters.

    WEIGHBRIDGE_TEST_VLLM_REQUESTS=10000 make test-vllm ARGS="tests/vllm/test_mixed.py -s"     prints docs/exactness.md's tables
"""

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system import System
from tests.vllm import report
from tests.vllm.accounts import Account, EngineLog, join
from tests.vllm.clients import send_all
from tests.vllm.mix import SHAPES, mix

REQUESTS = int(os.environ.get("WEIGHBRIDGE_TEST_VLLM_REQUESTS", "400"))
AT_ONCE = 16
UNSENT = 0.02
"""Tokens that were on their way inside vLLM when their client left, and never sent: at most this share of what was billed."""

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200 + REQUESTS)]


@pytest.fixture(scope="module")
def fleet(vllm, embedder, tmp_path_factory) -> Iterator[System]:
    """One proxy before a model that generates, one before a model that embeds."""
    environment = {"WEIGHBRIDGE_UPSTREAM_API_KEY": vllm.key}
    running = System(tmp_path_factory.mktemp("fleet"), vllm.url, environment, ("--upstream", embedder.url))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def accounts(vllm, embedder, fleet) -> list[Account]:
    """Send the mix; return an account of each request, once their sums are the growth of the engines' counters."""
    tenant, key = fleet.key("Mixed")
    servers = (vllm, embedder)
    before, logs = (
        [server.counters() for server in servers],
        {one.engine_log: one.engine_log.stat().st_size for one in servers},
    )
    generating, embedding = fleet.endpoints["proxies"]
    seen = asyncio.run(send_all(mix(REQUESTS, seed=11), generating, embedding, key, AT_ONCE))
    after = [server.counters() for server in servers]
    last = mix(
        len(SHAPES), seed=12, first=REQUESTS, cut=False
    )  # each proxy's records arrive in order: these are the last
    seen_last = asyncio.run(send_all(last, generating, embedding, key, 1))
    events = ledger(fleet, tenant, {str(request.number) for request in last})
    every = join(seen + seen_last, events, EngineLog(logs))
    mixed = every[: len(seen)]
    print(f"\n\n{report.by_shape(mixed)}\n\n{report.by_fate(mixed)}\n")
    growth = {name: sum(b[name] - a[name] for a, b in zip(before, after, strict=True)) for name in before[0]}
    assert sum(one.work.prefilled for one in mixed) == growth["prompt"]
    assert sum(one.work.generated for one in mixed) == growth["generation"]
    return every


def ledger(fleet: System, tenant: str, last: set[str]) -> list[dict[str, Any]]:
    """Return the tenant's usage events, once those of the last requests are among them and every admission has one."""
    columns = ("request_id", "client_request_id", "outcome", "accuracy", "input_tokens", "output_tokens", "dialect")
    deadline = time.monotonic() + 120
    while True:
        rows = fleet.query(f"SELECT {', '.join(columns)} FROM usage WHERE tenant = '{tenant}'")
        ((admitted,),) = fleet.query(
            f"SELECT count() FROM requests WHERE tenant = '{tenant}' AND admitted_at IS NOT NULL"
        )
        events = [dict(zip(columns, row, strict=True)) for row in rows]
        if last <= {event["client_request_id"] for event in events} and admitted == len(events):
            return events
        assert time.monotonic() < deadline, f"{len(events)} usage events of {admitted} requests that were admitted"
        time.sleep(0.5)


def of(accounts: list[Account], fate: str) -> list[Account]:
    return [one for one in accounts if one.fate == fate]


def test_who_stays_gets_a_whole_answer_and_is_billed_what_the_engine_counted(accounts):
    stayed = [one for one in accounts if one.seen.left_at is None]
    assert {one.seen.head for one in stayed} == {b"HTTP/1.1 200"}
    assert {one.fate for one in stayed} == {"completed, exact"}
    for one in of(accounts, "completed, exact"):
        assert one.billed == (sum(one.work.prompts.values()), one.work.generated), one.seen.request


def test_the_engine_counts_a_prompt_for_each_choice_and_the_bill_once(accounts):
    for one in of(accounts, "completed, exact"):
        assert one.work.prefilled == one.seen.request.choices * one.billed[0], one.seen.request


def test_nothing_is_done_for_a_request_that_was_not_admitted(accounts):
    refused = of(accounts, "not admitted")
    assert refused
    for one in refused:
        assert one.seen.request.cut is not None
        assert (one.work.prefilled, one.work.generated) == (0, 0), one.seen.request


def test_a_cut_stream_is_billed_what_vllm_sent_and_never_what_came_after(accounts):
    """The engine may go on for as long as the server takes to hear and to tell it; nobody gets that, and nobody pays."""
    cut = of(accounts, "client_closed, exact")
    assert cut
    for one in cut:
        assert one.billed[0] == sum(one.work.prompts.values()), one.seen.request
        assert one.billed[1] <= one.work.generated, one.seen.request
    assert sum(one.unsent for one in cut) <= UNSENT * sum(one.billed[1] for one in cut)


def test_an_estimate_is_not_more_than_the_engine_counted(accounts):
    for one in of(accounts, "client_closed, estimated"):
        assert one.event is not None
        assert one.event["dialect"] in ("messages", "responses")
        assert one.billed[0] == (sum(one.work.prompts.values()) if one.known_input else 0), one.seen.request
        assert 0 <= one.billed[1] <= one.work.generated, one.seen.request


def test_what_nobody_knows_is_not_billed(accounts):
    for one in of(accounts, "client_closed, unknown"):
        assert one.billed == (0, 0)
        assert one.seen.request.cut is not None


def test_there_is_no_other_way_to_end_and_the_engine_stops_for_all_who_left(accounts):
    fates = {"completed, exact", "not admitted"} | {
        f"client_closed, {how}" for how in ("exact", "estimated", "unknown")
    }
    assert {one.fate for one in accounts} <= fates
    stopped = [one for one in accounts if one.work.stopped_at is not None]
    assert {one.fate for one in stopped} <= fates - {"not admitted"}
    assert len({one.seen.request.path for one in stopped}) > 3
