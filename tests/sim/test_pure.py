"""Tokens, prefix cache and engine, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import tokens
from sim.engine import Choice, Limits, seed_of
from sim.prefix import Hit, PrefixCache, Prompt


@given(st.text())
def test_a_text_survives_its_tokens(text):
    ids = tokens.encode(text.encode())
    assert len(ids) == tokens.count(text.encode())
    assert b"".join(map(tokens.bytes_of, ids)) == text.encode()
    assert tokens.decode(ids) == text


@given(st.integers(min_value=0))
def test_any_id_stands_for_some_text(token):
    assert isinstance(tokens.decode([token]), str)


def test_every_word_of_the_vocabulary_is_one_token_with_an_id_of_its_own():
    assert all(len(word.encode()) <= tokens.PIECE for word in tokens.VOCABULARY)
    assert len(set(tokens.TOKEN_IDS)) == len(set(tokens.VOCABULARY))
    assert all(tokens.VOCABULARY[:80])


def choice(seed=1, index=0, **limits) -> Choice:
    return Choice(index, Prompt(b"prompt"), Hit(0, 0), seed, Limits(**{"max_tokens": 50, **limits}))


def finish(made: Choice) -> list[str]:
    shown = []
    while made.finish is None:
        shown.append(made.step())
    return shown


@given(st.integers(), st.integers(1, 80))
def test_one_step_is_one_token_and_the_shown_pieces_are_the_text(seed, limit):
    made = choice(seed % 2**31, max_tokens=limit)
    shown = finish(made)
    assert len(shown) == made.generated == limit
    assert "".join(shown) == made.text
    assert (made.finish, made.stop) == ("length", None)


def test_a_seed_repeats_an_answer_and_choices_differ():
    assert finish(choice(seed=7)) == finish(choice(seed=7))
    assert finish(choice(seed=7)) != finish(choice(seed=8))
    assert finish(choice(seed=7)) != finish(choice(seed=7, index=1))


def test_without_a_wish_the_prompt_and_the_simulator_give_the_seed():
    assert seed_of(Prompt(b"a"), 5, 0) == seed_of(Prompt(b"b"), 5, 1) == 5
    seeds = {seed_of(Prompt(b"a"), None, 0), seed_of(Prompt(b"b"), None, 0), seed_of(Prompt([1]), None, 0)}
    assert len(seeds) == 3
    assert seed_of(Prompt(b"a"), None, 0) != seed_of(Prompt(b"a"), None, 1)


@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(0, 40))
def test_an_end_that_nobody_asked_for_comes_after_the_minimum(seed, every, minimum):
    made = choice(seed, max_tokens=5000, eos_every=every, min_tokens=minimum)
    finish(made)
    assert made.generated > minimum
    assert made.finish == "stop"


@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 6))
def test_a_stop_string_ends_the_answer_before_it_and_is_never_shown(seed, start, length):
    whole = choice(seed, max_tokens=60)
    finish(whole)
    stop = whole.text[start : start + length]
    made = choice(seed, max_tokens=60, stops=(stop, "never said"))
    shown = "".join(finish(made))
    assert shown == made.text
    if stop:
        assert made.finish == "stop"
        assert made.stop == stop
        assert stop not in shown
        assert whole.text.startswith(shown + stop)


def test_the_cache_finds_whole_leading_blocks_and_computes_the_last_token():
    cache = PrefixCache(block_size=2, capacity=100)
    text = b"aaaabbbbccccdddd"  # four tokens
    assert cache.admit(Prompt(text)) == Hit(0, 4)
    assert cache.admit(Prompt(text)) == Hit(2, 0)
    assert cache.admit(Prompt(text + b"e")) == Hit(4, 0)
    assert cache.admit(Prompt(b"x" + text)) == Hit(0, 4)
    assert cache.admit(Prompt([1, 2, 3])) == Hit(0, 2)
    assert cache.admit(Prompt([1, 2, 4])) == Hit(2, 0)


def test_a_salt_keeps_prompts_apart():
    cache = PrefixCache(block_size=1, capacity=100)
    cache.admit(Prompt(b"aaaabbbb", salt="one"))
    assert cache.admit(Prompt(b"aaaabbbb", salt="two")).cached == 0
    assert cache.admit(Prompt(b"aaaabbbb", salt="one")).cached == 1


def test_the_least_recently_used_blocks_leave_a_full_cache():
    cache = PrefixCache(block_size=1, capacity=2)
    for number in (1, 2, 1, 3):
        cache.admit(Prompt([number]))
    assert cache.admit(Prompt([1, 9])).cached == 1
    assert cache.admit(Prompt([2, 9])).cached == 0


@pytest.mark.parametrize(("content", "size", "text"), [(b"hello", 2, "hello"), ([104, 105], 2, "hi")])
def test_a_prompt_is_text_or_ids(content, size, text):
    assert (Prompt(content).size, Prompt(content).text, len(Prompt(content).ids)) == (size, text, size)
