"""Addresses as people write them."""

from urllib.parse import urlsplit

from cli.errors import CommandError


def web_address(flag: str, text: str) -> str:
    """Return an address of a web server; raises CommandError for what is none, without a password that it may hold."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, or half an IPv6 address
        good = False
    if not good:
        raise CommandError(f"{flag} {text.rpartition('@')[2]}: give it as http://HOST:PORT or https://HOST", 2)
    return text
