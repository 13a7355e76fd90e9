"""What is looked up to find out who sends a request: a key by its digest, or whom a token names."""

from datetime import datetime

import msgspec

from contracts import keys
from proxy.identity import INVALID, Identity, Named
from proxy.key_memory import KeyMemory
from proxy.key_source import KeySource
from proxy.oidc.token import is_token
from proxy.oidc.tokens import Tokens
from proxy.ports import Refusal


class ByKey(msgspec.Struct, frozen=True):
    """A key."""

    digest: str

    async def fetch(self, source: KeySource) -> Identity | Refusal | None:
        """Ask Redis; returns and raises as `KeySource` does."""
        return await source.fetch(self.digest)

    def remembered(self, memory: KeyMemory) -> Identity | None:
        """Return what is known without Redis."""
        return memory.identity(self.digest)


class ByToken(msgspec.Struct, frozen=True):
    """A token of an identity provider, that is valid."""

    named: Named

    async def fetch(self, source: KeySource) -> Identity | Refusal | None:
        """Ask Redis; returns and raises as `KeySource` does."""
        return await source.fetch_named(self.named)

    def remembered(self, memory: KeyMemory) -> Identity | None:
        """Return what is known without Redis: nothing, where a team or user is not known that may be suspended."""
        found = memory.named(self.named)
        if found is None or (self.named.user is not None and found.user is None):
            return None
        return found if found.team is not None or not self.named.teams else None


Wanted = ByKey | ByToken


class Reader:
    """Tells keys from tokens. `tokens`: of the identity provider, None: there is none, and all that is shown are keys."""

    def __init__(self, pepper: bytes, tokens: Tokens | None = None) -> None:
        self._pepper, self._tokens = pepper, tokens

    async def read(self, shown: bytes, now: datetime) -> Wanted | Refusal:
        """Say what is to be looked up, or why there is nothing to look up."""
        if self._tokens is not None and is_token(shown):
            named = await self._tokens.read(shown, now)
            return named if isinstance(named, Refusal) else ByToken(named)
        text = shown.decode("latin-1")
        if text.startswith(keys.PREFIX) and keys.parse(text) is None:
            return INVALID
        return ByKey(keys.digest(shown, self._pepper))
