"""What is reserved for a request: by its limits, its sender's plan and what was learned."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import estimates as learned
from proxy.dialects.base import Takes
from proxy.dialects.takes import TEMPLATE
from proxy.estimates import Estimates
from proxy.ports import Amounts, Principal
from proxy.reserve import CAP, CONTEXT, Reservation, reserve
from tests.proxy.dialects.test_takes import CHAT, TEXT, call
from tests.proxy.fakes import held, holding

TOKENS = held("total_tokens", 100_000)


def ask(
    path: str, body: dict[str, Any], who: Principal, context: int | None = 2048, known: Estimates | None = None
) -> Reservation:
    dialect, made = call(path, body)
    return reserve(dialect.takes, made, 0, "tiny", context, who, known or Estimates())


def chat(who: Principal, context: int | None = 100_000, **fields: Any) -> Reservation:
    return ask(CHAT, {"messages": TEXT, **fields}, who, context)


def test_what_the_client_says_holds_for_every_choice() -> None:
    found = chat(holding(TOKENS), max_tokens=50, n=3)
    assert (found.bound.output, found.estimate.output, found.cap) == (150, 150, None)
    found = ask("/v1/completions", {"prompt": ["a", "b"], "n": 2}, holding(TOKENS))
    assert (found.bound.output, found.cap) == (16 * 4, None)


def test_a_strict_limit_writes_a_cap_where_there_is_none() -> None:
    assert chat(holding(TOKENS)).cap == CAP
    assert chat(holding(TOKENS)).bound.output == CAP
    assert chat(holding(TOKENS), context=2048).cap == 2048, "vLLM refuses more than the context"
    small = chat(holding(held("total_tokens", 1000)), n=2)
    assert small.cap == (1000 - small.bound.input) // 2
    assert small.bound.input + small.bound.output <= 1000
    assert chat(holding(held("output_tokens", 300))).cap == 300
    weighted = chat(holding(held("weighted_tokens", 2000)))
    assert weighted.bound.input + 2 * weighted.bound.output <= 2000
    assert chat(holding(held("input_tokens", 1))).cap == CAP
    assert chat(holding(held("total_tokens", 1))).cap == 1, "the limit itself refuses it"


@pytest.mark.parametrize(
    "limit",
    [
        held("total_tokens", 1000, precision="expected"),
        held("total_tokens", 1000, mode="shadow"),
        held("total_tokens", 1000, model="other"),
        held("requests", 1),
        held("concurrency", 1),
    ],
)
def test_others_write_none(limit: Any) -> None:
    found = chat(holding(limit), context=None)
    assert (found.cap, found.bound.output, found.estimate.output) == (None, CONTEXT, learned.ANSWER)


def test_a_plans_cap_lowers_what_was_asked_and_is_written_where_nothing_was() -> None:
    who = holding(max_tokens=100)
    assert (chat(who).cap, chat(who).bound.output) == (100, 100)
    assert (chat(who, max_tokens=500).cap, chat(who, max_tokens=500).bound.output) == (100, 100)
    assert (chat(who, max_tokens=50).cap, chat(who, max_tokens=50).bound.output) == (None, 50)
    assert chat(holding(TOKENS, max_tokens=9000)).cap == 9000, "the plan knows better than we do"
    assert ask("/v1/completions", {"prompt": "a"}, holding(max_tokens=8)).cap == 8
    assert ask("/v1/messages", {"messages": TEXT}, who).cap is None, "vLLM refuses it, and is to go on to"


def test_a_prompt_is_at_most_its_bytes_and_at_most_the_context() -> None:
    _, made = call(CHAT, {"messages": TEXT, "max_tokens": 1})
    assert chat(holding(TOKENS), max_tokens=1).bound.input == len(made.body) + TEMPLATE
    assert chat(holding(TOKENS), context=200, max_tokens=1).bound.input == 200
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]
    found = ask(CHAT, {"messages": picture, "max_tokens": 1}, holding(TOKENS), 5000)
    assert found.bound.input == 5000
    assert found.estimate.input < 2000
    assert ask(CHAT, {"messages": picture, "max_tokens": 1}, holding(TOKENS), None).bound.input == CONTEXT
    batch = ask("/v1/chat/completions/batch", {"messages": [picture] * 3, "max_tokens": 1}, holding(TOKENS), 5000)
    assert (batch.bound.input, batch.bound.output) == (15_000, 3)


def test_what_generates_nothing() -> None:
    assert ask("/v1/embeddings", {"input": ["a"]}, holding(TOKENS)).bound.output == 0
    found = ask("/generative_scoring", {"query": "a", "items": ["b", "c"]}, holding(TOKENS))
    assert (found.bound.output, found.estimate.output) == (2, 2)
    found = ask("/tokenize", {"prompt": "a" * 1000}, holding(TOKENS))
    assert found.bound == found.estimate == Amounts(0, 0), "requests and places alone"


def test_a_session_has_no_bound() -> None:
    _, made = call(CHAT, {})
    made.body = b""
    strict, expected = (
        reserve(
            Takes(bounded=False), made, 0, "tiny", None, holding(held("total_tokens", 9, precision=each)), Estimates()
        )
        for each in ("strict", "expected")
    )
    assert strict.refused is not None
    assert "strict" in strict.refused
    assert expected.refused is None
    assert expected.bound == Amounts(0, learned.ANSWER)


def test_sound() -> None:
    takes = Takes(sound=True)
    _, made = call(CHAT, {})
    made.body, made.stream = b"x" * 100_000, True
    found = reserve(takes, made, 0, "tiny", 448, holding(TOKENS), Estimates())
    assert found.bound == Amounts(448 * 7, 448 * 7)
    made.stream = False
    assert reserve(takes, made, 0, "tiny", 448, holding(TOKENS), Estimates()).bound == Amounts(0, 0), "told in seconds"


BODIES = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=50)}), max_size=3
        )
    },
    optional={"max_tokens": st.integers(0, 5000), "n": st.integers(1, 4)},
)


@given(
    BODIES,
    st.integers(100, 20_000),
    st.one_of(st.none(), st.integers(500, 9000)),
    st.one_of(st.none(), st.integers(1, 900)),
)
def test_an_estimate_is_never_above_the_bound(
    body: dict[str, Any], amount: int, context: int | None, cap: int | None
) -> None:
    found = ask(CHAT, body, holding(held("total_tokens", amount), max_tokens=cap), context)
    assert 0 <= found.estimate.input <= found.bound.input
    assert 0 <= found.estimate.output <= found.bound.output
    if "max_tokens" not in body:
        assert found.cap is not None, "a strict limit, and nothing that bounds the answer"
    if cap is not None:
        assert found.bound.output <= cap * body.get("n", 1)


def test_a_models_bytes_are_learned_and_so_is_its_template() -> None:
    known = Estimates()
    assert known.prompt("m", 3000, 0, 0) == 1000
    for _ in range(400):
        known.learn_prompt("m", 1000, 200, 1)
    assert 580 <= known.prompt("m", 3000, 0, 0) <= 640
    assert known.prompt("m", 0, 7, 2) == 7 + 2 * learned.MEDIA
    assert known.prompt("other", 3000, 0, 0) == 1000
    assert known.template("m") == TEMPLATE
    known.learn_prompt("m", 100, 1100, 2)
    assert known.template("m") == 500
    known.learn_prompt("m", 100, 10, 1)
    assert known.template("m") == 500, "a template is as long as it ever was"


def test_a_tenants_answers_are_learned() -> None:
    known = Estimates()
    assert known.answer("a", "m") == learned.ANSWER
    known.learn_answer("a", "m", 40)
    assert known.answer("a", "m") == 40
    for _ in range(100):
        known.learn_answer("a", "m", 60)
    assert 58 <= known.answer("a", "m") <= 60
    assert known.answer("b", "m") == known.answer("a", "n") == learned.ANSWER


def test_what_is_learned_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Estimates()
    for number in range(learned.MODELS + 10):
        known.learn_prompt(f"m{number}", 10, 5, 1)
    assert len(known._prompts.entries) == learned.MODELS
    assert "m0" not in known._prompts.entries
    monkeypatch.setattr(known._answers, "_most", 5)
    for number in range(9):
        known.learn_answer("t", f"m{number}", 3)
        known.learn_answer("t", "m0", 3)
    assert len(known._answers.entries) == 5
    assert ("t", "m0") in known._answers.entries, "heard of last"
