"""Whether somebody listens at an address, and how to show an address without its password."""

import socket
import sys
import time
from typing import Final
from urllib.parse import urlsplit

from cli.errors import CommandError
from embedded.plan import Given

_PORTS: Final = {
    "redis": 6379,
    "rediss": 6379,
    "http": 80,
    "https": 443,
    "postgresql": 5432,
    "postgresql+asyncpg": 5432,
}
_SECONDS: Final = 2.0
GIVE_UP_SECONDS: Final = 10.0
SAY_AFTER_SECONDS: Final = 2.0


def unreachable(address: str) -> str | None:
    """Return why nobody can be reached at a URL or HOST:PORT; None: somebody listens, or it is no address of a network."""
    if address.startswith(("sqlite", "unix")):
        return None
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)), _SECONDS).close()
    except OSError as error:
        return f"{masked(address)} does not answer ({error.strerror or error})"
    return None


def masked(text: str) -> str:
    """Return a value without the password that an address may hold."""
    scheme, separator, rest = text.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if separator and "@" in rest else text


def await_given(given: Given) -> None:
    """Wait a while for servers that are not ours; raises CommandError, since a part without them would not say a word."""
    named = {"KAFKA_BOOTSTRAP_SERVERS": given.kafka, "REDIS_URL": given.redis, "CLICKHOUSE_URL": given.clickhouse}
    for name, address in {**named, "DATABASE_URL": given.database}.items():
        began, said = time.monotonic(), False
        while address is not None and (amiss := unreachable(address.split(",")[0])) is not None:
            waited = time.monotonic() - began
            if waited > GIVE_UP_SECONDS:
                raise CommandError(f"WEIGHBRIDGE_{name}: {amiss}; start it, or unset the variable to have one embedded")
            if waited > SAY_AFTER_SECONDS and not said:
                said = True
                sys.stderr.write(f"weighbridge: waiting for WEIGHBRIDGE_{name}: {amiss}\n")
            time.sleep(0.2)
