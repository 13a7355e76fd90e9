"""Says whom a token names, with the keys that its issuer publishes now."""

from datetime import datetime

from proxy.identity import UNAVAILABLE, Named
from proxy.oidc.keyring import Keyring
from proxy.oidc.rules import Rules
from proxy.oidc.token import check, invalid, key_id
from proxy.ports import Refusal


class Tokens:
    """Those of one issuer."""

    def __init__(self, rules: Rules, keyring: Keyring) -> None:
        self._rules, self._keyring = rules, keyring

    async def read(self, token: bytes, now: datetime) -> Named | Refusal:
        """Check a token; `limits_unavailable` where that takes a key that cannot be read now."""
        text = token.decode("latin-1")
        kid = key_id(text)
        if isinstance(kid, Refusal):
            return kid
        key = await self._keyring.find(kid)
        if key is None:
            return invalid("its key is not known") if self._keyring.in_touch else UNAVAILABLE
        return check(text, key, self._rules, now)
