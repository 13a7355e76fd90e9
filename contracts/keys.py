"""API keys: `wb_<env>_<id>_<secret><checksum>`, and the digest under which a key is known.

The checksum lets a proxy and a secret scanner refuse a mistyped key without asking anybody. Only an HMAC of a key is ever
stored; whoever reads the database or Redis cannot use what is there without the pepper.
"""

import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Final, Literal

from contracts.ids import BASE32, base32

Environment = Literal["live", "test"]
PREFIX: Final = "wb_"
_SECRET_LENGTH: Final = 40  # 200 bits
_CHECKSUM_LENGTH: Final = 7  # a CRC-32 in base 32
_FORMAT: Final = re.compile(
    rf"wb_(?P<env>live|test)_(?P<id>[{BASE32}]{{26}})_(?P<secret>[{BASE32}]{{{_SECRET_LENGTH}}})"
    rf"(?P<checksum>[{BASE32}]{{{_CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True)
class Parsed:
    """A well-formed key of ours: `key_id` is the id that the API shows (`key_…`)."""

    environment: str
    key_id: str


def create(key_id: str, environment: Environment = "live") -> str:
    """Return a new key for `key_id` (`key_` and 26 characters). It is shown once and never stored."""
    secret = "".join(secrets.choice(BASE32) for _ in range(_SECRET_LENGTH))
    body = f"{PREFIX}{environment}_{key_id.removeprefix('key_')}_{secret}"
    return body + _checksum(body)


def parse(token: str) -> Parsed | None:
    """Return what a key of ours says about itself, or None when it is none or its checksum is wrong."""
    match = _FORMAT.fullmatch(token)
    if match is None or _checksum(token[:-_CHECKSUM_LENGTH]) != match["checksum"]:
        return None
    return Parsed(environment=match["env"], key_id=f"key_{match['id']}")


def digest(token: bytes, pepper: bytes) -> str:
    """Return the HMAC-SHA-256 of a key under the installation's pepper, in hex: the name a key is stored under."""
    return hmac.digest(pepper, token, "sha256").hex()


def hint(token: str) -> str:
    """Return the end of a key, which people who manage keys may see: enough to tell two of them apart."""
    return f"…{token[-4:]}"


def _checksum(body: str) -> str:
    return base32(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)
