"""The keys an identity provider signs with: found by discovery, kept while it is away, read again when a new one is used."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog

Fetch = Callable[[str], Awaitable[bytes]]
"""Returns what stands at a URL. Raises OSError."""
DISCOVERY: Final = "/.well-known/openid-configuration"
REFRESH_EVERY: Final = 300.0
"""Seconds until a key that the provider no longer publishes is no longer believed."""
RETRY_AFTER: Final = 10.0
"""Seconds between two attempts, however many tokens name keys that are not there."""
_KINDS: Final = ("RSA", "EC", "OKP")
_log = structlog.get_logger(__name__)


class KeysError(Exception):
    """What the identity provider publishes cannot be used; the message says what is wrong with it."""


class _Metadata(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class Keyring:
    """The keys of one issuer."""

    def __init__(self, issuer: str, fetch: Fetch) -> None:
        self.known = False
        """Whether its keys were ever read."""
        self.in_touch = False
        """Whether they could be read the last time."""
        self._issuer, self._fetch = issuer, fetch
        self._keys: list[dict[str, Any]] = []
        self._tried_at: float | None = None
        self._running: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> dict[str, Any] | None:
        """Return the key of that name (None: the only one there is), or None; reads them again before it says that."""
        key = self._key(kid)
        if key is None:
            await self._read_soon()
            key = self._key(kid)
        return key

    async def run(self) -> None:
        """Read the keys again and again, until cancelled."""
        while True:
            await self._read_soon()
            await asyncio.sleep(REFRESH_EVERY if self.in_touch else RETRY_AFTER)

    def _key(self, kid: str | None) -> dict[str, Any] | None:
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == kid), None)

    async def _read_soon(self) -> None:
        """Read the keys, unless that was tried a moment ago; whoever comes meanwhile waits along."""
        loop = asyncio.get_running_loop()
        if self._running is None and (self._tried_at is None or loop.time() - self._tried_at >= RETRY_AFTER):
            self._tried_at = loop.time()
            self._running = loop.create_task(self._read())
            self._running.add_done_callback(self._read_once)
        if self._running is not None:
            await asyncio.shield(self._running)

    def _read_once(self, _done: "asyncio.Task[None]") -> None:
        self._running = None

    async def _read(self) -> None:
        try:
            self._keys = await self._published()
        except (OSError, TimeoutError, KeysError, msgspec.DecodeError) as error:
            if self.in_touch or not self.known:
                _log.warning("identity provider away", issuer=self._issuer, error=str(error))
            self.in_touch = False
        else:
            self.known = self.in_touch = True

    async def _published(self) -> list[dict[str, Any]]:
        found = msgspec.json.decode(await self._fetch(self._issuer.rstrip("/") + DISCOVERY), type=_Metadata)
        if found.issuer != self._issuer:
            raise KeysError(f"it calls itself {found.issuer!r}: set OIDC_ISSUER to that, letter by letter")
        schemes = ("https://",) if self._issuer.startswith("https://") else ("https://", "http://")
        if not found.jwks_uri.startswith(schemes):
            raise KeysError(f"its keys are not served over {schemes[0]}")
        keys = msgspec.json.decode(await self._fetch(found.jwks_uri), type=_KeySet).keys
        return [key for key in keys if key.get("kty") in _KINDS and key.get("use", "sig") == "sig"]
