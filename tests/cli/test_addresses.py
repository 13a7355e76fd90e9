"""Addresses as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.addresses import web_address
from cli.errors import CommandError


@pytest.mark.parametrize("url", ["http://a", "https://a.b:8443/path", "http://u:p@a:1", "http://[::1]:3000"])
def test_what_is_an_address(url):
    assert web_address("--x", url) == url


@pytest.mark.parametrize(
    "url", ["", "a", "a:1", "ftp://a", "http://", "http://[broken", "http://a:port", "http://a:99999", "http://a:0"]
)
def test_what_is_none(url):
    with pytest.raises(CommandError, match="http://HOST:PORT") as raised:
        web_address("--x", url)
    assert raised.value.status == 2


@given(st.text(max_size=30))
def test_anything_is_an_address_or_refused(text):
    try:
        assert web_address("--x", text) == text
    except CommandError as error:
        assert error.status == 2  # noqa: PT017  # most texts are refused


def test_a_password_is_not_repeated():
    with pytest.raises(CommandError) as raised:
        web_address("--x", "ftp://user:hidden@host")
    assert "hidden" not in str(raised.value)
