"""How often keys that nobody holds are looked up: so many at once and so many a second, from an address and in all. Pure.

A bucket is one number, the time at which it is full again: an attempt moves it on by what one attempt is worth, and giving
an attempt back moves it back. A bucket that is full is the same as one that was never used, and is forgotten.
"""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

ADDRESS_BURST: Final = 60
ADDRESS_PER_SECOND: Final = 1.0
ALL_BURST: Final = 1000
ALL_PER_SECOND: Final = 200.0
KEPT: Final = 20_000
"""Addresses; where there are more, the one whose last attempt is longest ago is forgotten: what all may do is still bounded."""
_SITE: Final = 64


class Buckets:
    """Buckets of the same size, by name. Times are seconds of a clock that never goes back."""

    def __init__(self, burst: int, per_second: float, kept: int = KEPT) -> None:
        self._each, self._kept = 1 / per_second, kept
        self._slack = (burst - 1) / per_second
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._full_at)

    def wait(self, name: str, now: float) -> float:
        """Return after how many seconds an attempt may be made; 0.0: now."""
        return max(0.0, self._full_at.get(name, now) - now - self._slack)

    def take(self, name: str, now: float) -> None:
        """Note an attempt."""
        full_at = max(self._full_at.pop(name, now), now) + self._each
        self._full_at[name] = full_at
        if len(self._full_at) > self._kept:
            del self._full_at[next(iter(self._full_at))]

    def give_back(self, name: str, now: float) -> None:
        """Forget one attempt."""
        full_at = self._full_at.get(name)
        if full_at is None:
            return
        if full_at - self._each <= now:
            del self._full_at[name]
        else:
            self._full_at[name] = full_at - self._each


class Guard:
    """Bounds the attempts to guess a key. An attempt that turns out to be none is given back."""

    def __init__(self) -> None:
        self._addresses = Buckets(ADDRESS_BURST, ADDRESS_PER_SECOND)
        self._all = Buckets(ALL_BURST, ALL_PER_SECOND)

    def take(self, address: str | None, now: float) -> float:
        """Note an attempt from an address (None: not known) and return 0.0; or note nothing and return how long to wait."""
        name = site(address)
        wait = max(self._addresses.wait(name, now), self._all.wait("", now))
        if wait == 0.0:
            self._addresses.take(name, now)
            self._all.take("", now)
        return wait

    def give_back(self, address: str | None, now: float) -> None:
        """Forget one attempt from an address."""
        self._addresses.give_back(site(address), now)
        self._all.give_back("", now)


def site(address: str | None) -> str:
    """Return what counts as one sender: an IPv4 address, or the /64 of an IPv6 one, all of which is given to one customer."""
    if address is None:
        return ""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((int(parsed), _SITE), strict=False))
    return str(parsed)
