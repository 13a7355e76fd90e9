"""API keys: a slip of the hand is noticed, a digest says nothing about its key."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import ids, keys

KEY_ID = ids.new_id("key", 1795220549000)


def test_a_key_names_its_id_and_environment():
    token = keys.create(KEY_ID, "test")
    assert token.startswith("wb_test_")
    assert keys.parse(token) == keys.Parsed("test", KEY_ID)


def test_no_two_keys_are_alike():
    assert len({keys.create(KEY_ID) for _ in range(100)}) == 100


@given(st.data())
def test_any_changed_character_is_noticed(data):
    token = keys.create(KEY_ID)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(string.ascii_letters + string.digits + "_-").filter(lambda c: c != token[place]))
    assert keys.parse(token[:place] + other + token[place + 1 :]) is None


@given(st.text(max_size=200))
def test_foreign_tokens_are_none_of_ours(token):
    assert keys.parse(token) is None


def test_the_digest_depends_on_the_pepper_and_the_whole_key():
    token = keys.create(KEY_ID).encode()
    digests = {keys.digest(token, b"p" * 16), keys.digest(token, b"q" * 16), keys.digest(token[:-1], b"p" * 16)}
    assert len(digests) == 3
    assert all(len(digest) == 64 and token.decode() not in digest for digest in digests)


def test_a_hint_shows_only_the_end():
    token = keys.create(KEY_ID)
    assert keys.hint(token) == f"…{token[-4:]}"


def test_ids_sort_by_time():
    assert ids.new_id("ten", 1) < ids.new_id("ten", 2) < ids.new_id("ten", 2**47)


@pytest.mark.parametrize(("number", "width", "text"), [(0, 2, "00"), (31, 1, "z"), (32, 2, "10")])
def test_base32(number, width, text):
    assert ids.base32(number, width) == text
