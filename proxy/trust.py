"""What is believed of a request that a trusted proxy sends: who the client is, and which step of which request it is. Pure.

| header | says |
| --- | --- |
| `X-Forwarded-For` | the client: its last address that is no trusted proxy's |
| `X-Weighbridge-Hop` | the step of a router's request: `root` (the one that is billed), `prefill`, `decode` or `retry` |
| `X-Weighbridge-Parent-Request-Id` | the `x-request-id` of the request that this one is a step of |

A wrong step is refused, not guessed at: it decides about money.
"""

from ipaddress import IPv6Address, ip_address
from typing import Final

from contracts.events import Hop
from proxy import admission
from proxy.headers import Headers
from proxy.ports import Refusal

HOP_HEADER: Final = b"x-weighbridge-hop"
PARENT_HEADER: Final = b"x-weighbridge-parent-request-id"
_FORWARDED: Final = b"x-forwarded-for"
_HOPS: Final[dict[bytes, Hop]] = {b"root": "root", b"prefill": "prefill", b"decode": "decode", b"retry": "retry"}
_MAX_ID: Final = 512


class Sender:
    """Where a request comes from. `trusted`: a trusted proxy sent it; `refusal`: what it said cannot be believed."""

    __slots__ = ("client_address", "hop", "parent_request_id", "refusal", "trusted")

    def __init__(self, client_address: str | None) -> None:
        self.client_address = client_address
        self.hop: Hop = "root"
        self.parent_request_id: str | None = None
        self.refusal: Refusal | None = None
        self.trusted = False


def sender(address: str | None, headers: Headers, networks: tuple[str, ...]) -> Sender:
    """Return where a request comes from that was sent from `address`; `networks` are those of the trusted proxies."""
    found = Sender(address)
    if not networks or not admission.within(address, networks):
        return found
    found.trusted = True
    forwarded = b",".join(_named(headers, _FORWARDED))
    if forwarded:
        found.client_address = _client(forwarded, networks)
    hops, parents = _named(headers, HOP_HEADER), _named(headers, PARENT_HEADER)
    hop = _HOPS.get(hops[0].strip().lower()) if len(hops) == 1 else None
    if hop is not None:
        found.hop = hop
    elif hops:
        found.refusal = Refusal("invalid_request", "`x-weighbridge-hop` must be root, prefill, decode or retry, once.")
    if parents:
        parent = parents[0].strip().decode("utf-8", "replace")
        if len(parents) == 1 and 0 < len(parent) <= _MAX_ID:
            found.parent_request_id = parent
        else:
            found.refusal = Refusal("invalid_request", "`x-weighbridge-parent-request-id` must be one request's id.")
    return found


def _named(headers: Headers, name: bytes) -> list[bytes]:
    """Return the values of a header, in their order."""
    return [content for field, content in headers if field.lower() == name]


def _client(forwarded: bytes, networks: tuple[str, ...]) -> str | None:
    """Return the last address of `X-Forwarded-For` that is not trusted, else its first; None: what stands there is none.

    What stands before it may be anything that the client wrote.
    """
    address = None
    for entry in reversed(forwarded.split(b",")):
        address = _address(entry)
        if address is None or not admission.within(address, networks):
            break
    return address


def _address(entry: bytes) -> str | None:
    """Return an address without the port that some proxies add, and without the brackets of IPv6."""
    written = entry.strip().decode("latin-1")
    if written[:1] == "[":
        written = written[1:].partition("]")[0]
    elif written.count(":") == 1:
        written = written.partition(":")[0]
    try:
        address = ip_address(written)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
